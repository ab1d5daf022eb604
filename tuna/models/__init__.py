"""Models: finding and loading them, scoring responses exactly, sharding, export."""
