"""The recipe of the embedded models: a little world, prose and questions about it, training, ranked lists."""
