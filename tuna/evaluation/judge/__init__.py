"""The judge card: what a judge is worth, against given preferences."""
