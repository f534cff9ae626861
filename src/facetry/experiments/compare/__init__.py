"""The leaderboard: every approach on the same held-out products."""
