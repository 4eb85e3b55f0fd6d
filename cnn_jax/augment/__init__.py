"""Augmentations: pure functions `(keys, batch, *, settings) -> batch`, run on the device inside the training step.

`keys` [B] holds one typed key per example, derived by the caller from seed, step and global position. What happens to
example i depends only on `keys[i]` and, when examples are mixed, on its neighbour i ^ 1. So any even split of the
batch over devices gives the same numbers. Images are float in [0, 1], before normalisation.
"""
