"""The pages on which people decide cells, and how their decisions flow back."""
