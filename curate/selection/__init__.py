"""Selections: strategies, manifests, and what manifests are exported to."""
