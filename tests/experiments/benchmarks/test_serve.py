"""The benchmark of evaluation and prediction: both kinds of rows are made, without PyTorch too."""

from collections.abc import Callable
from typing import Any

import jax
import pytest

from cnn_jax.models.mnist_cnn import mnist_cnn


def test_rows_are_made(load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = load("serve")
    monkeypatch.setattr(jax, "devices", lambda: jax.local_devices()[:1])
    said, *times = benchmark.split_row("tiny", benchmark.Split(mnist_cnn, (8, 8, 1), 3, 4, 2), 1)
    assert said == "tiny, 8 images in batches of 4" and all(float(time) >= 0 for time in times)
    name, ours, *theirs = benchmark.one_row("tiny", mnist_cnn, 8, 1, torch=False)
    assert name == "tiny" and float(ours) > 0 and theirs == ["–", "–"]
