"""What every part stands on: files, randomness, workers, signals, progress, text, settings."""
