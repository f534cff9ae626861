"""The classifier as one graph on torch, and its conversion for other runtimes."""
