"""Data: sources of examples (NumPy only) and the batches drawn from them."""
