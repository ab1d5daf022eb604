"""Verifiable questions in real English, at three grades, for tuning and measuring small real models (docs/english.md)."""
