"""A file for each command: what it does to a run, and the public function of its name.

How ``curate X`` works is in X.py. Read run.py first, which goes through all stages; context.py
holds what they have in common: device, workers and progress.
"""
