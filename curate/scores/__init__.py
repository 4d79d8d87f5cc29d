"""Scores: plans, alignment, the estimator and its errors, measures beside it."""
