"""Hyperparameter search: trials of a recipe, ranked by their score on the validation part."""
