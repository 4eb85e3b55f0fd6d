"""Paths as people write them."""

from pathlib import Path

import pytest

from cnn_jax.paths import written


def test_a_path_is_what_was_meant(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert (written("~/x"), written("x")) == (Path("/home/me/x"), Path("x"))
    with pytest.raises(ValueError, match="'~nobody at all/x': there is no such home folder"):
        written("~nobody at all/x")
    with pytest.raises(ValueError, match="empty"):  # as --out=$NOWHERE is
        written("")
