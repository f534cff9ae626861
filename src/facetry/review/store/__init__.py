"""The store of reviews: catalogues, what people are asked, and what they have decided."""
