"""The demo: the whole work from a catalogue to predictions, on a drawn catalogue."""
