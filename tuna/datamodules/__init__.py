"""LightningDataModules: data files in, packed batches out."""
