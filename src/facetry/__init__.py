"""Facetry reads a product photo and its category and fills in the product's attributes."""
