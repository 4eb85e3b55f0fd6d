"""Weights to and from other libraries: files, names and layouts."""
