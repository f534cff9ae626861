"""The page of a catalogue: how complete it is, its cells as a grid, and changes of one or of many."""
