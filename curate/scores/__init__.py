"""Memorization: plans, alignment, the estimator and its errors, and measures beside it."""
