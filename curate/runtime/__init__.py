"""What every other room stands on: files, randomness, workers, signals, progress and settings.

Nothing here knows of images or scores. Read randomness.py first: every draw of curate is a pure
function of a seed and a purpose. Then files.py, which writes every file atomically.
"""
