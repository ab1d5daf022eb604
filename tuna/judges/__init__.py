"""Judges: what orders the answers to an instruction. One file and one YAML each."""
