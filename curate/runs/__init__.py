"""Runs: the folder of a run, the recipe that made it, and what can be read from it.

Read run.py first: it says what lies where and which steps are complete. recipe.py composes the
settings of all rooms; opening.py starts a run or goes on with one.
"""
