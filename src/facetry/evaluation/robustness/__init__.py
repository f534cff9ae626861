"""Robustness: the score on damaged photos (paper, section 9)."""
