"""LightningModules: a scorer, a loss, an optimizer."""
