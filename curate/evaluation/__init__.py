"""What a selection did: probes of encoders, comparisons with random choices, agreement of rankings.

Read comparison.py first: it sets a selection beside random ones of its size. probing.py trains the
probes of probes/ on the features of an encoder.
"""
