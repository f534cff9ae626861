"""Find products that show the same photo: scan the photos, fingerprint them, compare likely pairs."""
