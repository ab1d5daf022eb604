"""Measurements of the whole: speed, memory, and what happens when things break. Nothing in the package imports it."""
