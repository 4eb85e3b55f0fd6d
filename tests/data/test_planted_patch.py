"""The planted patch: one pattern in each picture, where the map says, and it is the class."""

import numpy as np
import pytest

from cnn_jax.data.digits import digits
from cnn_jax.data.planted_patch import PATTERNS, pattern, planted_patch
from cnn_jax.lookup import lookup


def test_the_pattern_lies_where_the_map_says_and_is_the_class() -> None:
    splits, own = planted_patch("digits", side=3), digits()
    for name, source in splits.items():
        batch, before = (s.batch(np.arange(len(source))) for s in (source, own[name]))
        there = batch["patch"] > 0
        assert (there.sum((1, 2)) == 9).all() and set(np.unique(batch["label"])) == {0, 1, 2, 3}
        np.testing.assert_array_equal(batch["image"][~there], before["image"][~there])
        for row in range(20):
            seen = batch["image"][row][there[row]].reshape(3, 3)
            np.testing.assert_array_equal(seen, 255 * pattern(batch["label"][row], 3))
        assert there.any(0).all()  # every place is taken
        assert abs(np.corrcoef(batch["label"], before["label"])[0, 1]) < 0.1
    assert splits["train"].spec.classes == PATTERNS and splits["test"].spec.name == "planted_patch in digits"
    assert splits["train"].spec.fingerprint == lookup("planted_patch(digits, side=3)")()["test"].spec.fingerprint


def test_patterns_differ_and_small_pictures_are_refused() -> None:
    for side in (3, 6):
        assert len({pattern(label, side).tobytes() for label in range(4)}) == 4
    with pytest.raises(ValueError, match="a pattern of 8 x 8 pixels needs larger pictures of bytes; digits has"):
        planted_patch("digits", side=8)
