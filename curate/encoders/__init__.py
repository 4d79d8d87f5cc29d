"""Encoders: backbones, methods, random views, training, and what they make of an image."""
