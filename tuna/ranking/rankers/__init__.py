"""Rankers: from instructions to ranked lists. One file and one YAML each."""
