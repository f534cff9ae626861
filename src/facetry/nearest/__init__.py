"""Who is nearest, and what the nearest vote for: one mechanism for search, cleaning and audits."""
