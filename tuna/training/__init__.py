"""One training run: folder, checkpoints, processes, loggers, summary."""
