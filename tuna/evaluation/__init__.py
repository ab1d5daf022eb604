"""Benchmarks: what a model is measured on."""
