"""From a recipe to a model folder, and from a model folder to a predictor."""
