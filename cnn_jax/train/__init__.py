"""Training: the state, the one step, the one loop, and what keeps a run alive."""
