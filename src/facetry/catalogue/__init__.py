"""Products in: tables, photo files, taxonomies, splits, checks."""
