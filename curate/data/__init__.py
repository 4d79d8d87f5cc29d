"""Images: where they come from, how they are stored, named and decoded."""
