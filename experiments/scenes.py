"""Clothes found in composed scenes, 96 x 96, ten classes: a small detector in 15 minutes on two CPU cores.

Reproduces: nothing; the scenes are this project's, composed of Fashion-MNIST's items.
Command: python launch.py train experiments/scenes.py --seeds=0,1,2
Time: 11 min a seed on 2 CPU cores: 1,314 CPU-seconds, beside other work (n=2)
Expected: ap50 0.929 ± 0.001, ap 0.848 ± 0.001 on the test split (n=3, last step), of which wrong classes cost 0.052 of
    ap50, all else 0.006
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.scenes import scenes
from cnn_jax.launch import experiment_file
from cnn_jax.models.point_detector import point_detector
from cnn_jax.tasks.detect import detect
from cnn_jax.train.optim import muon
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="scenes",
        data=Data(source=scenes, validation=0.0125, batch_size=64),
        model=Model(build=point_detector, task=partial(detect, sizes=(16, 24), flips="horizontal")),
        optim=Optim(build=muon, lr=0.1, weight_decay=0.01, schedule=cosine, warmup="5%", ema=0.99),
        augment=compose(flip),
        duration="2500 steps",
        evaluate=Evaluate(every="500 steps"),
        save_every="500 steps",
    )


if __name__ == "__main__":
    experiment_file.main()
