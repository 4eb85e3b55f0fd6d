"""Whether a map is true: tests of attributions as numbers for each example, of which means and intervals are taken.

Each is a pure function of a score f, an input x and a map (see `cnn_jax.explain`), and says which direction is better.
A number means little alone: `controls` are the maps that know nothing of the model, against which it is read.
"""
