"""Images: where they come from, how they are stored, named and decoded.

A source (sources/) yields samples, shards/ writes them into tars with an index, and canvas.py holds
them decoded. Read sample.py first: it says how content names a sample.
"""
