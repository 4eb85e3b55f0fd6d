"""import of a tagger's weights in the layout of PANNs: what was a network for spectrograms hears sounds."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from cnn_jax.inspect import models
from cnn_jax.models.panns import cnn10
from cnn_jax.models.variant import Hearing
from cnn_jax.weights import files
from cnn_jax.weights.convert import tensor_shapes, to_variables
from cnn_jax.weights.parity import all_made_up
from cnn_jax.weights.schemes import schemes
from tests.data.sounds import tone, write

TINY = "cnn10(features=(4, 4, 4, 4), hidden=4)"
SHAPE = (32, 64, 1)


def test_a_tagger_hears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    published = cnn10.preprocessing
    assert isinstance(published, Hearing) and (published.rate, published.seconds) == (32_000, 10)
    monkeypatch.setitem(cnn10.__dict__, "preprocessing", Hearing(32_000, 0.3, published.front))
    net = models.find(TINY)[0]
    names = schemes("panns", net())["panns"].names
    tensors = all_made_up(tensor_shapes(net(classes=3), SHAPE, names), calm=False)
    constants = {
        "spectrogram_extractor.stft.conv_real.weight": np.zeros((513, 1, 1024), np.float32),
        "logmel_extractor.melW": np.zeros((513, 64), np.float32),
        "bn0.num_batches_tracked": np.zeros((), np.float32),
    }
    files.write("weights.safetensors", {**tensors, **constants})
    Path("names.txt").write_text("dog\nrain\nbell\n")
    said = launch("import", TINY, "weights.safetensors", "--classes=names.txt", "--workdir=run")
    assert said.code == 0 and said.err == "", said.err
    assert "3 classes, named as by panns" in said.out
    assert "sounds: 0.3 s at 32000 Hz, of which the model makes its own spectrogram" in said.out
    write(Path("a.wav"), tone(700, 0.3, 32_000), 32_000)
    said = launch("predict", "run", "a.wav", "--json=-")
    assert said.code == 0, said.err
    found = {row["class"]: row["probability"] for row in json.loads(said.out)[0]["predictions"]}
    variables = to_variables(net(classes=3), SHAPE, tensors, names)
    x = tone(700, 0.3, 32_000)[None, :, None]
    apply = jax.jit(lambda x: net(classes=3).apply(variables, published.front(x), train=False)[0])
    wanted = 1 / (1 + np.exp(-np.asarray(apply(x))[0]))
    np.testing.assert_allclose([found[name] for name in ("dog", "rain", "bell")], wanted, rtol=1e-4)
    del tensors["fc1.weight"]
    files.write("less.safetensors", tensors)
    said = launch("import", TINY, "less.safetensors", "--workdir=other")
    assert said.code == 2 and "missing: fc1.weight" in said.err and not Path("other").exists()
