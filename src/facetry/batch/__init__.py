"""Predictions over whole tables."""
