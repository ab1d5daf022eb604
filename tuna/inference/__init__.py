"""Asking models: text and log-probabilities of local and served models, stored once, within a budget."""
