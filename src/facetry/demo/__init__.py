"""The main job from start to end, on a catalogue that it draws."""
