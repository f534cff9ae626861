"""Fits a classifier to a catalogue."""
