"""Sequences with common beginnings as token trees: built, cut into steps that fit, run with attention inside a tree."""
