"""How long work runs: resumable folders, and work in other processes."""
