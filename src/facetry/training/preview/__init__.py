"""A preview of training: augmented and mixed photos of some products, as a page or an image."""
