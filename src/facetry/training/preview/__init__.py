"""What training will see: augmented and mixed photos on a page or a picture."""
