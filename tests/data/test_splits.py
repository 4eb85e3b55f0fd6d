"""What is refused of the splits of any source when they are made, and of settings before anything is read."""

import dataclasses

import numpy as np
import pytest

from cnn_jax.data.images import CorruptImage
from cnn_jax.data.prepare import ImagePrepare, fit
from cnn_jax.data.spec import Field
from cnn_jax.data.splits import checked
from tests.data.test_source import ROLES, splits_of, toy


def bad_arrays() -> dict[str, dict]:
    """What may be wrong with the splits of any source of arrays, by the message."""
    images, label = np.zeros((4, 2, 2, 1), np.float32), np.array([0, 1, 2, -1])
    good = {"image": images, "label": label}
    with np.errstate(over="ignore"):
        inf = np.full((4, 2, 2, 1), 1e300).astype(np.float32)
    return {
        "image of the test split is not finite everywhere as float32": {**good, "image": inf},
        "label of the test split goes from 0 to 3, there are 3 classes": {**good, "label": np.array([0, 3, 0, 0])},
        "labels must be class numbers from 0, not -2..1": {**good, "label": np.array([0, -2, 1, 0])},
        "the test split has no examples": {"image": images[:0], "label": label[:0]},
        "the test split has 4 image, 3 label": {**good, "label": label[:3]},
        r"image of the test split is \[2, 1, 1\] float32, of the others": {**good, "image": images[:, :, :1]},
        "image of the test split is .* uint8, of the others": {**good, "image": images.astype(np.uint8)},
    }


@pytest.mark.parametrize("message", bad_arrays())
def test_all_splits_are_checked_when_they_are_made(message):
    train = {"image": np.zeros((4, 2, 2, 1), np.float32), "label": np.array([0, 1, 2, -1])}
    splits_of({"train": train}, ROLES)
    with pytest.raises(ValueError, match=message) as caught:
        splits_of({"train": train, "test": bad_arrays()[message]}, ROLES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "shape", "message"),
    [
        (["a", "b", "a"], (2, 2, 1), "two classes are named 'a': give each class a name of its own"),
        (["a"], (2, 2, 1), "has only one class, 'a': at least two are needed"),
        (["a", "b"], (20_000, 20_000, 3), "one example of .* takes 1,200,000,004 bytes, at most 536,870,912"),
    ],
)
def test_a_description_that_serves_no_training_is_refused(classes, shape, message):
    spec = dataclasses.replace(toy(3).spec, classes=tuple(classes), inputs={"image": Field("image", shape, "uint8")})
    with pytest.raises(ValueError, match=message):
        checked(spec)


def test_what_would_take_too_much_memory_is_refused():
    for how in ({"size": (20_000, 20_000)}, {"size": (224, 224), "crop": 0.001}):
        with pytest.raises(ValueError, match="makes more than 178,956,970 pixels: choose less"):
            ImagePrepare(**how)
    line = np.zeros((1, 20_000, 3), np.uint8)
    with pytest.raises(CorruptImage, match="1 x 20000 pixels in a letterbox of 20000 x 20000, more than"):
        fit(line, ImagePrepare(size=(8, 8), resize="letterbox"))
    assert fit(line, ImagePrepare(size=(8, 8)))[0].shape == (8, 8, 3)


@pytest.mark.parametrize("white", [0, 65536, 1.5])
def test_white_is_a_value_of_16_bits(white):
    with pytest.raises(ValueError, match="white must be a value of 1 to 65535"):
        ImagePrepare(white=white)
