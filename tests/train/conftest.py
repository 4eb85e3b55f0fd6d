"""A run small enough to be trained dozens of times: 8 x 8 images, two convolutions, batches of 16."""

from functools import partial

import numpy as np
import pytest

from cnn_jax.augment.compose import identity
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.digits import digits
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import ArraySource
from cnn_jax.data.spec import Field, Spec
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import constant


@pytest.fixture
def config() -> Experiment:
    """BatchNorm and dropout, momentum SGD, one device; 20 steps of 16."""
    return Experiment(
        name="tiny",
        data=Data(source=digits, batch_size=16),
        model=Model(build=partial(small_cnn, features=(8, 16), hidden=16, dropout=0.3), task=classify),
        optim=Optim(build=sgd, lr=0.05, schedule=constant),
        augment=identity,
        duration="20 steps",
        evaluate=Evaluate(every="0 steps", batch_size=16),
        save_every="0 steps",
        log_every="5 steps",
        compute=Compute(devices=1),
    )


@pytest.fixture(scope="session")
def source() -> ArraySource:
    """80 grey images of 4 classes, each class brighter in its own quarter."""
    draw = np.random.default_rng(0)
    labels = draw.integers(4, size=80).astype(np.int32)
    images = draw.integers(120, size=(80, 8, 8, 1))
    for label in range(4):
        row, column = 4 * (label // 2), 4 * (label % 2)
        images[labels == label, row : row + 4, column : column + 4] += 100
    spec = Spec(
        name="quarters",
        classes=("a", "b", "c", "d"),
        inputs={"image": Field("image", (8, 8, 1), "uint8")},
        targets={"label": Field("label", (), "int32")},
        prepare=ImagePrepare(mean=(0.3,), std=(0.2,)),
        licence="",
        citation="",
        fingerprint="0" * 64,
    )
    return ArraySource({"image": images.astype(np.uint8), "label": labels}, spec)
