"""Collecting ranked answers: teachers, judges, the sampler, the store that never loses an answer, cost."""
