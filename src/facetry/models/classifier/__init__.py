"""The classifier: encoders, neck and heads as one network, and its files."""
