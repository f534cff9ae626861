"""What Facetry is measured by: each module measures a baseline and ours in one run."""
