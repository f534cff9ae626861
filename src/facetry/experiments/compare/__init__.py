"""The leaderboard: recipes and models scored on the same held-out products."""
