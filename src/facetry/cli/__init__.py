"""The command line: `main` registers, one file holds one command."""
