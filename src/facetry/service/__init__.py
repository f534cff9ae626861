"""Predictions over HTTP: the API, micro-batching, jobs, keys, and what keeps the process up under load."""
