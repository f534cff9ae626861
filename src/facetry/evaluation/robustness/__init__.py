"""How much of a score is left on damaged photos (paper, section 9)."""
