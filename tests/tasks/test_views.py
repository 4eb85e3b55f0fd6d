"""Prediction from several views of an image."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cnn_jax.batch import Batch
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import VALID, Field, Spec
from cnn_jax.tasks.classify import classify


class Pixels(nn.Module):
    """Logits are the pixels of the first row of an image [1, 3]."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        return x[:, 0, :, 0], {}


def test_views_are_averaged_with_their_weights() -> None:
    inputs, targets = {"image": Field("image", (2, 3, 1), "float32")}, {"label": Field("label", (), "int32")}
    spec = Spec(
        name="rows",
        classes=("a", "b", "c"),
        inputs=inputs,
        targets=targets,
        prepare=ImagePrepare(mean=(0.0,), std=(1.0,)),
        licence="",
        citation="",
        fingerprint="",
    )
    image = np.arange(1.0, 7.0, dtype=np.float32).reshape(1, 2, 3, 1)
    batch = Batch({"image": jnp.asarray(image), VALID: jnp.ones(1)}, spec.fields)
    own, down_right, up_left = np.array([1.0, 2, 3]), np.zeros(3), np.array([5.0, 6, 0])
    task = classify(Pixels(), spec, shift_test=1)
    found = task.predict({}, batch)["logits"][0]
    np.testing.assert_allclose(found, own / 2 + down_right / 4 + up_left / 4)

    def both(row: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        return (row + mirrored) / 2

    # A shifted image is mirrored after the shift.
    task = classify(Pixels(), spec, flip_test=True, shift_test=1)
    found = task.predict({}, batch)["logits"][0]
    expected = both(own, own[::-1]) / 2 + both(down_right, down_right) / 4 + both(up_left, up_left[::-1]) / 4
    np.testing.assert_allclose(found, expected)
