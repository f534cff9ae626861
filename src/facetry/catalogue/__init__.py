"""Reading products: tables, photo files, taxonomies, repairs of labels, splits and checks."""
