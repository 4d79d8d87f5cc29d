"""Runs: what lies on disk, the recipe it was made by, and what can be said of it."""
