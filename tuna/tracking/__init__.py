"""What a run or a collection records: metrics.csv and Weights & Biases."""
