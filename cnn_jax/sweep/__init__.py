"""Sweeps: many runs of one experiment, whose folder is all that there is to know of them."""
