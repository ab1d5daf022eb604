"""The record, files and importers, templates, tokenization, packing: files in, groups of token ids out."""
