"""What a selection did: probes, comparisons with random ones, agreement of rankings."""
