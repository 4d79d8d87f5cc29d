"""A file for each command: what it does to a run, and the public function of its name."""
