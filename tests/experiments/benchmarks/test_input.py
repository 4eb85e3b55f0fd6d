"""The benchmark of the input pipeline: its photographs are written once, and its sides make batches."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import decoded


def test_photographs_are_written_once_and_made_into_batches(
    load: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "PICTURES", decoded.PICTURES)  # which a side sets
    script, sides = load("input"), load("input_sides")
    folder = script.photographs(tmp_path / "photographs", 10)
    files = sides.files(str(folder))
    assert len(files) == 10 and {label for _, label in files} == set(range(10))
    with Image.open(files[0][0]) as picture:
        assert 450 <= picture.width <= 550 and 337 <= picture.height <= 413
        assert sides.cropped(picture, 24).size == (24, 24)
    written = Path(files[0][0]).stat().st_mtime_ns
    assert script.photographs(folder, 10) == folder and Path(files[0][0]).stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="holds 10 photographs, not 11"):
        script.photographs(folder, 11)

    job = {"folder": str(folder), "batch": 4, "size": 24, "floats": False}
    streamed, held = (sides._project(job, held)[0] for held in (False, True))
    for batch, other in zip((next(streamed) for _ in range(5)), (next(held) for _ in range(5)), strict=True):
        assert batch.shape == (4, 24, 24, 3)
        np.testing.assert_array_equal(batch, other)
    example, label = sides._example(files[3], 24, floats=True)
    assert example.shape == (24, 24, 3) and example.dtype == np.float32 and label == 3
    assert script.megabytes(os.getpid()) > 10
