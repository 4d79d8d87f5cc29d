"""Neighbours, near-duplicates and flaws of images, and what memorization goes with.

neighbours.py searches the space of an encoder, which spaces.py provides; duplicates.py searches
pixels. Read triage.py first: it puts every sample into one class by what the others measure.
"""
