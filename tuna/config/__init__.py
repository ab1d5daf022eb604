"""Config: constructor signatures as schemas, checks before anything heavy loads, and the common entry point."""
