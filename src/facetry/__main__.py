"""`python -m facetry` is `facetry`: what torchrun and other launchers start."""

from facetry.cli.main import main

main()
