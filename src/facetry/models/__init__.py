"""The classifier: backbones, heads, and the model folder."""
