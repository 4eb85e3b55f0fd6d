"""Scores over a whole set of predictions. NumPy only."""
