"""What long work needs to run: atomic files, resumable folders, progress, signals, worker processes."""
