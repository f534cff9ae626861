"""The challenge's metric, and reports on a predictor."""
