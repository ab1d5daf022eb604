"""Chat fixtures of the project's own making: tokenizers, templates, conversations, a reference, models."""
