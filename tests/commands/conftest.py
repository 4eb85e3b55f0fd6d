"""A tiny run on digits, trained once per test process, and the command line called within the process."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.launch import cli

# Without convolutions, so that it compiles in no time.
EXPERIMENT = '''"""Digits, but tiny.

Reproduces: nothing.
Command: python launch.py train experiments/tiny.py
Time: no time.
Expected: little.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax

from cnn_jax.augment.compose import identity
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.digits import digits
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant


class Net(nn.Module):
    classes: int
    dtype: Any
    hidden: int = 8

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        pooled = nn.relu(nn.Dense(self.hidden)(x.reshape(len(x), -1)))
        return nn.Dense(self.classes)(pooled), {"pooled": pooled}


def experiment() -> Experiment:
    return Experiment(
        name="tiny",
        data=Data(source=digits, batch_size=16),
        model=Model(build=partial(Net, hidden=16), task=classify),
        optim=Optim(build=sgd, lr=0.05, schedule=constant),
        augment=identity,
        duration="6 steps",
        evaluate=Evaluate(every="4 steps", outputs=True),
        save_every="4 steps",
        log_every="2 steps",
        compute=Compute(devices=1),
    )
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with experiments/tiny.py in it."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of six steps; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.py").write_text(EXPERIMENT)
    assert cli.main(["train", str(folder / "tiny.py"), f"--workdir={folder / 'run'}"]) == 0
    return folder / "run"


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib takes most of the time of a tiny run."""
    monkeypatch.setattr("cnn_jax.report.classify.figures", lambda *_: None)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run, free to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="session")
def write_images() -> Callable[..., Path]:
    """write_images(folder): grey PNGs in class folders, each class brighter in a half of its own."""

    def write(folder: Path, classes: tuple[str, ...] = ("left", "right"), count: int = 10, mode: str = "L") -> Path:
        draw = np.random.default_rng(0)
        for position, name in enumerate(classes):
            (folder / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(100, size=(8, 8))
                pixels[:, 4 * (position % 2) :][:, :4] += 150
                Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(folder / name / f"{number}.png")
        return folder

    return write


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """contents(folder): every file below it with its bytes, and every folder with none."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}

    return read
