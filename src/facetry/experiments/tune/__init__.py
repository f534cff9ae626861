"""Many trainings with other settings, ranked by their score on the validation part."""
