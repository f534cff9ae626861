"""Predictors that are no trained classifier: ensembles, similarity search, language models with eyes."""
