"""Verifiable questions in real English, of three grades, for small real models (docs/english.md)."""
