"""One training run: its folder, checkpoints, processes, and what it says and leaves."""
