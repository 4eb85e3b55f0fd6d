"""Convolutional neural networks on JAX: models, data, training, evaluation and explanation."""
