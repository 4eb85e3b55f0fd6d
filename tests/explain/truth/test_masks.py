"""Where what counts lies, as masks, from what a set says."""

import numpy as np

from cnn_jax.data.spec import Field
from cnn_jax.explain.truth.masks import object_masks

SIZE = (6, 8)
BOXES = {"boxes": Field("boxes", (3, 4), "float32"), "kinds": Field("box_labels", (3,), "int32")}
BATCH = {
    "boxes": np.array([[[0, 0, 2, 3], [4, 1, 8, 5], [4, 1, 7, 5]]] * 2, np.float32),
    "kinds": np.array([[1, 1, 0], [0, 0, -1]]),
}


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def test_of_a_detector_only_the_object_that_the_box_shows_counts() -> None:
    """Not another one of its class, not one of another class; and nothing where no object is near."""
    labels, found = np.array([1, 0]), np.array([[4, 1, 7, 5], [2, 3, 4, 6]], np.float32)
    every = object_masks(BOXES, BATCH, SIZE, labels)
    np.testing.assert_array_equal(every[0], box(0, 0, 2, 3) | box(4, 1, 8, 5))
    one = object_masks(BOXES, BATCH, SIZE, labels, found)
    np.testing.assert_array_equal(one[0], box(4, 1, 8, 5))
    assert not one[1].any()


def test_what_is_in_the_object_of_any_class_is_not_asked_of_a_box() -> None:
    fields = {"instances": Field("instance_map", SIZE, "int32"), **BOXES}
    batch = {**BATCH, "instances": np.ones((2, *SIZE), np.int32)}
    assert object_masks(fields, batch, SIZE, np.array([1, 0])).all()
    found = np.array([[0, 0, 2, 3], [0, 0, 2, 3]], np.float32)
    np.testing.assert_array_equal(object_masks(fields, batch, SIZE, np.array([1, 0]), found)[0], box(0, 0, 2, 3))


def test_of_a_segmenter_it_is_the_class_that_is_explained() -> None:
    fields = {"map": Field("class_map", SIZE, "int32")}
    truth = np.random.default_rng(0).integers(3, size=(2, *SIZE))
    found = object_masks(fields, {"map": truth}, SIZE, np.array([2, 0]))
    np.testing.assert_array_equal(found, [truth[0] == 2, truth[1] == 0])
    assert object_masks({"label": Field("label", (), "int32")}, {"label": np.zeros(2)}, SIZE, np.zeros(2)) is None
