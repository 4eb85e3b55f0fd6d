"""What a model learns: tuples of pure functions."""
