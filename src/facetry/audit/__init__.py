"""The audit: finds likely mistakes in labels and photos before a model is trained on them."""
