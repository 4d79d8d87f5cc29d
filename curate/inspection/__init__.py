"""Neighbours, near-duplicates and flaws of images, and what memorization goes with."""
