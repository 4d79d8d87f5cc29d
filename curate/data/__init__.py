"""Images: where they come from, how they are stored and decoded."""
