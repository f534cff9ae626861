"""Predictions over HTTP: the API, micro-batching, jobs, keys, and what keeps it up under load."""
