"""A run of nothing but parts of this project, a folder of imported weights, and the command line within the process."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.launch import cli

EXPERIMENT = """
from functools import partial

from cnn_jax.augment.compose import identity
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.digits import digits
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant


def experiment():
    return Experiment(
        name="plain",
        data=Data(source=digits, batch_size=16),
        model=Model(build=partial(small_cnn, features=(2,), hidden=2), task=classify),
        optim=Optim(build=sgd, lr=0.05, schedule=constant),
        augment=identity,
        duration="2 steps",
        evaluate=Evaluate(every="0 steps", test="never"),
        save_every="0 steps",
        compute=Compute(devices=1),
    )
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that names no function of its own experiment.py; not to be changed."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "plain.py").write_text(EXPERIMENT)
    assert cli.main(["train", str(folder / "plain.py"), f"--workdir={folder / 'run'}"]) == 0
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it in a folder of its own, beside picture.png, which it can name."""
    folder = Path(shutil.copytree(trained, tmp_path / "stranger" / "run"))
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "stranger" / "picture.png")
    return folder
