"""Batch work on a Ray cluster, whose workers run the very functions that run in this process."""
