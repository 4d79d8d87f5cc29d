"""Selections: which samples a strategy takes, and the manifest that records them.

Read selection.py first. strategies/ holds a file for each strategy, manifest.py the file
that a selection writes, and exports/ the forms that others read it in.
"""
