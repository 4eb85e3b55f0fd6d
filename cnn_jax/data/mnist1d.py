"""mnist1d: MNIST-1D, 4000 train and 1000 test signals of length 40 in 10 classes, made by the PyPI package mnist1d.

Generated with the package's own seed (42) and order, which is the published set; nothing is downloaded. Each signal is
a digit-like template, padded, dilated, shifted, sheared and noised (Greydanus and Kobak 2024, section 2).
"""

import functools
import importlib.util
import random

import numpy as np

from cnn_jax.data.prepare import Prepare
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import array_splits, check_sha256, digest

SHA256 = "bdb19939d87d4f9e22e314ae59be4f3f90d77f18ab04d08e0b07bedcf543169f"


def available() -> str | None:
    """None when the set can be opened, else how to install it."""
    return None if importlib.util.find_spec("mnist1d") else "pip install mnist1d"


def mnist1d() -> Splits:
    """The splits "train" (4000 signals float32 [40, 1]) and "test" (1000).

    Raises:
      FileNotFoundError: the package mnist1d is not installed.
    """
    if missing := available():
        raise FileNotFoundError(f"mnist1d is not installed: {missing}")
    return array_splits(
        "mnist1d",
        {split: {"signal": signals, "label": labels} for split, (signals, labels) in _arrays().items()},
        Prepare(),
        inputs={"signal": "signal"},
        targets={"label": "label"},
        classes=[str(digit) for digit in range(10)],
        licence="Apache-2.0",
        citation="Greydanus and Kobak 2024, Scaling Down Deep Learning with MNIST-1D, ICML, arXiv:2011.14439",
    )


@functools.cache
def _arrays() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from mnist1d.data import get_dataset_args, make_dataset  # imports matplotlib; get_dataset would download

    python_state, numpy_state = random.getstate(), np.random.get_state()  # the package reseeds both global streams
    try:
        made = make_dataset(get_dataset_args())
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
    # Pinned to four decimals: the last bits depend on the processor and on the version of SciPy.
    rounded = [np.rint(made[key] * 1e4).astype(np.int64) for key in ("x", "x_test")]
    labels = [made[key].astype(np.int64) for key in ("y", "y_test")]
    check_sha256("the set made by mnist1d", digest(*rounded, *labels), SHA256)
    return {
        "train": (made["x"].astype(np.float32)[..., None], made["y"]),
        "test": (made["x_test"].astype(np.float32)[..., None], made["y_test"]),
    }
