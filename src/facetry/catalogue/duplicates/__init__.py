"""Which products show the same photo: one scan over the photos, fingerprints, registration."""
