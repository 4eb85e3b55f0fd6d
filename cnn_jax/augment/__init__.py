"""Augmentations: pure functions `(keys, batch, *, settings) -> batch`, run on the device inside the training step.

`keys` [B] holds one typed key per example, derived by the caller from seed, step and global position. What happens to
example i depends only on `keys[i]` and, when examples are mixed, on its neighbour i ^ 1. So any even split of the
batch over devices gives the same numbers.

An augmentation asks a batch for roles, never for a key: all images of an example undergo the same, and what has a place
in them moves along (affine.py). What it cannot treat it refuses, in one line, when the step is traced. Images are
floats before normalisation; colour operations need them in [0, 1], geometry does not.
"""
