"""Digits, but tiny.

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
from cnn_jax.config import Compute, Data, Experiment, Model, Optim
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
        data=Data(source="digits", batch_size=16),
        model=Model(build=partial(Net, hidden=16), task=classify),
        optim=Optim(build=sgd, lr=0.05, schedule=constant),
        augment=identity,
        duration="6 steps",
        evaluate_every="4 steps",
        save_every="4 steps",
        log_every="2 steps",
        compute=Compute(devices=1),
    )
