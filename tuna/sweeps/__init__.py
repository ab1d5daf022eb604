"""Sweeps: many jobs of one command, under any of Hydra's sweepers and launchers, that can be given again."""
