"""Memorization: who trains on what, how an encoder fits a sample, and the score with its error.

Read estimator.py first: it turns the alignments of alignment.py and the plan of plan.py into
scores. standard_errors.py and separation.py say how far to trust them; measures/ holds other
measures of memorization, to compare with.
"""
