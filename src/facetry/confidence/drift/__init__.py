"""Drift: how far a new batch of products is from those that a model was made for."""
