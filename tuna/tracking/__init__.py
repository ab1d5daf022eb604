"""What a run or a collection records of itself: metrics.csv and Weights & Biases."""
