"""The fault campaign: break one thing, run the real command, look at what it says and leaves (docs/campaigns/)."""
