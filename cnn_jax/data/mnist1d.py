"""mnist1d: MNIST-1D, 4000 train and 1000 test signals of length 40 in 10 classes, made by the PyPI package mnist1d.

Generated with the package's own seed (42) and order, which is the published set; nothing is downloaded. Each signal is
a digit-like template, padded, dilated, shifted, sheared and noised (Greydanus and Kobak 2024, section 2). Its authors'
studies make sets of other sizes with the same seed, in which every signal is another one; so does this source.
"""

import functools
import importlib.util
import random

import numpy as np

from cnn_jax.data.prepare import Prepare
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import array_splits, check_sha256, digest

SHUFFLE = 42  # seed of the order of positions, as in notebooks/mnist1d-classification.ipynb of its repository
SHA256 = "bdb19939d87d4f9e22e314ae59be4f3f90d77f18ab04d08e0b07bedcf543169f"


def available() -> str | None:
    """None when the set can be opened, else how to install it."""
    return None if importlib.util.find_spec("mnist1d") else "pip install mnist1d"


def mnist1d(*, train: int = 4000, test: int = 1000, shuffled: bool = False, wrong_labels: float = 0.0) -> Splits:
    """The splits "train" (4000 signals float32 [40, 1]) and "test" (1000).

    Args:
      train, test: how many there are of each, multiples of 10 together.
      shuffled: the 40 positions in another order, the same for all signals, which a convolution cannot make use of.
      wrong_labels: share of the training labels that are drawn anew from all ten, as of the study of double descent.

    Raises:
      FileNotFoundError: the package mnist1d is not installed.
      ValueError: there is no such set.
    """
    if missing := available():
        raise FileNotFoundError(f"mnist1d is not installed: {missing}")
    if min(train, test) < 1 or (train + test) % 10 or not 0 <= wrong_labels <= 1:
        asked = f"mnist1d(train={train}, test={test}, wrong_labels={wrong_labels:g})"
        raise ValueError(f"{asked}: there are as many of each of 10 classes, and a share lies between 0 and 1")
    order = np.random.RandomState(SHUFFLE).permutation(40) if shuffled else np.arange(40)
    return array_splits(
        "mnist1d",
        {
            split: {"signal": signals[:, order], "label": labels}
            for split, (signals, labels) in _arrays(train, test, wrong_labels).items()
        },
        Prepare(),
        inputs={"signal": "signal"},
        targets={"label": "label"},
        classes=[str(digit) for digit in range(10)],
        licence="Apache-2.0",
        citation="Greydanus and Kobak 2024, Scaling Down Deep Learning with MNIST-1D, ICML, arXiv:2011.14439",
    )


@functools.cache
def _arrays(train: int = 4000, test: int = 1000, wrong_labels: float = 0.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from mnist1d.data import get_dataset_args, make_dataset  # imports matplotlib; get_dataset would download

    settings = get_dataset_args()
    settings.num_samples = train + test
    python_state, numpy_state = random.getstate(), np.random.get_state()  # the package reseeds both global streams
    try:
        made = make_dataset(settings)
        signals, labels = (np.concatenate([made[name], made[f"{name}_test"]]) for name in ("x", "y"))
        if wrong_labels:  # in the order of notebooks/deep-double-descent.ipynb, from where the package left the stream
            for place in range(train):
                if np.random.random_sample() < wrong_labels:
                    labels[place] = np.random.randint(0, 10)
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
    if (train, test, wrong_labels) == (4000, 1000, 0.0):
        # Pinned to four decimals: the last bits depend on the processor and on the version of SciPy.
        rounded = [np.rint(part * 1e4).astype(np.int64) for part in (signals[:train], signals[train:])]
        found = digest(*rounded, *(part.astype(np.int64) for part in (labels[:train], labels[train:])))
        check_sha256("the set made by mnist1d", found, SHA256)
    signals = signals.astype(np.float32)[..., None]
    return {"train": (signals[:train], labels[:train]), "test": (signals[train:], labels[train:])}
