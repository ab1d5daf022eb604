"""LMentry (Efrat et al. 2022)."""
