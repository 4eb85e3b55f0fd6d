"""The filters of a network's first layer, the only ones that can be looked at as they are."""

from typing import Any

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict

from cnn_jax.inspect.stages import depths


def first_filters(model: nn.Module, variables: Any, input_shape: tuple[int, ...]) -> np.ndarray:
    """The kernel of the convolution nearest to the input, as [filters, *window, channels].

    Of a network that makes a spectrogram of its signals, that of the convolution of this picture.

    Raises ValueError for a network without convolutions.
    """
    arrays = flatten_dict(variables, sep="/")
    kernels = [path for path in depths(model, input_shape) if path.startswith("params/") and np.ndim(arrays[path]) > 2]
    rank = len(input_shape) + 1
    for path in sorted(kernels, key=lambda path: np.ndim(arrays[path]) != rank):
        if np.ndim(arrays[path]) in (rank, 4):
            return np.moveaxis(np.asarray(arrays[path], np.float32), -1, 0)
    raise ValueError(f"{type(model).__name__} has no convolution whose filters could be shown")
