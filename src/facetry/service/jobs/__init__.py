"""Whole tables predicted in the background: rows in a table, leased, worked off, cleaned up."""
