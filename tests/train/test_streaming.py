"""Evaluation streams: what it needs does not grow with the set."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SIZES = (20_000, 200_000)
ALLOWED = 50  # MB

# The outputs alone of 180,000 examples more, 100 float32 each, would be 72 MB.
CHILD = """
import resource, sys
import flax.linen as nn
import jax
import numpy as np
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.spec import Field, Spec
from cnn_jax.tasks.classify import classify
from cnn_jax.train.evaluate import evaluate
from cnn_jax.train.predictor import Predictor, compiler

CLASSES, SHAPE = 100, (16, 16, 1)
SPEC = Spec(name="made up", classes=tuple(map(str, range(CLASSES))), inputs={"image": Field("image", SHAPE, "uint8")},
            targets={"label": Field("label", (), "int32")}, prepare=ImagePrepare(mean=(0.5,), std=(0.3,)), licence="",
            citation="", fingerprint="")


class MadeUp:
    # Examples that exist only while they are looked at.
    spec = SPEC

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def batch(self, indices, keys=None):
        label = (indices * 7 % CLASSES).astype(np.int32)
        noise = (indices[:, None] * np.arange(1, 257) % 251).astype(np.uint8)
        noise[np.arange(len(label)), label] = 255
        return {"image": noise.reshape(-1, *SHAPE), "label": label}


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(CLASSES)(x.reshape(len(x), -1)), {}


model = Linear()
task = classify(model, SPEC)
predictor = Predictor(SPEC, model, task, task.init(jax.random.key(0)), compiler(SPEC, jax.devices()[:1], "auto"), 1)
evaluate(predictor, MadeUp(8192), 4096)  # compiles, and touches all the code
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scores = evaluate(predictor, MadeUp(int(sys.argv[1])), 4096)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(after / 1024, (after - before) / 1024, scores.tables["confusion"].sum(), scores.numbers["top1"].value)
"""


def test_ten_times_the_examples_take_the_same_memory() -> None:
    words = [[sys.executable, "-c", CHILD, str(size)] for size in SIZES]
    children = [subprocess.Popen(word, cwd=ROOT, stdout=subprocess.PIPE, text=True) for word in words]
    peaks = []
    for child, size in zip(children, SIZES, strict=True):
        said, _ = child.communicate(timeout=120)
        assert child.returncode == 0
        peak, _, count, top1 = map(float, said.split())
        assert count == size and 0 < top1 < 1
        peaks.append(peak)
    assert abs(peaks[1] - peaks[0]) < ALLOWED, peaks
