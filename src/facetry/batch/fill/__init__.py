"""A table's own file with its blanks filled in: same columns, order and format, nothing else touched."""
