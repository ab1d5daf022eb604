"""Losses: pure functions of log-probabilities and scores; one file and one YAML each."""
