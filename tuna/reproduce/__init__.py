"""The whole paper as one command: steps that are ordinary commands, and who needs what of whom."""
