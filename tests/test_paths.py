"""Paths as people write them."""

from pathlib import Path

import pytest

from cnn_jax.paths import printable, written


def test_a_path_is_what_was_meant(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert (written("~/x"), written("x")) == (Path("/home/me/x"), Path("x"))
    with pytest.raises(ValueError, match="'~nobody at all/x': there is no such home folder"):
        written("~nobody at all/x")
    with pytest.raises(ValueError, match="empty"):  # as --out=$NOWHERE is
        written("")


def test_a_name_is_shown_alike_in_every_locale():
    read_in_ascii = "café\n".encode().decode("ascii", errors="surrogateescape")
    assert printable("café\n") == printable(read_in_ascii) == "café\N{REPLACEMENT CHARACTER}"
    assert printable("caf\udce9") == "caf\\xe9"
    assert printable("\ud800") == "\N{REPLACEMENT CHARACTER}"
