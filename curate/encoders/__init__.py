"""Encoders: backbones, methods, views, training, and what they make of an image."""
