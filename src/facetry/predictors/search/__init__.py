"""Similarity search: products that look alike vote on a product's attributes (paper, section 5.1.2)."""
