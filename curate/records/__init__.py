"""The nouns that cross between stages: Sample, Plan, ScoreTable, Manifest (no torch here)."""
