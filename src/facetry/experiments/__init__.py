"""Many recipes on one split: compare ranks given ones, tune looks for better ones."""
