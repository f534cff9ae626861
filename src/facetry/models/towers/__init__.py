"""Image and text towers: weights, blocks, adapters, pruning. Every module here may import torch."""
