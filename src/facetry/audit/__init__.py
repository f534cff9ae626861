"""The audit: what is likely wrong with labels and photos, found before any model is trained on them."""
