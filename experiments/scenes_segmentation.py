"""Clothes in composed scenes, 96 x 96, the class of each pixel: a small U-Net in 15 minutes on two CPU cores.

Reproduces: nothing; the scenes are this project's, composed of Fashion-MNIST's items.
Command: python launch.py train experiments/scenes_segmentation.py --seeds=0,1,2
Time: 16 to 18 min a seed on 2 CPU cores: 1,831, 1,886 and 2,045 CPU-seconds beside other work
Expected: mean_iou 0.798 ± 0.003, foreground_iou 1.000 on the test split (n=3, last step); 0.80 and 0.97 are aimed at.
    Soft Dice beside the cross-entropy lowers the mean by 0.004 (250 further steps, validation)
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.scenes import scenes
from cnn_jax.launch import experiment_file
from cnn_jax.models.backbone_unet import BackboneUNet
from cnn_jax.models.fast_net import FastNet
from cnn_jax.tasks.segment import segment
from cnn_jax.train.optim import muon
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="scenes_segmentation",
        data=Data(source=partial(scenes, targets="class_map", gamma=0.45), validation=0.0125, batch_size=64),
        model=Model(
            build=partial(
                BackboneUNet,
                backbone=partial(FastNet, features=(32, 64, 128, 192)),
                features=(48, 32, 16),
                pixels=True,
                subpixels=2,
            ),
            task=partial(segment, flips="horizontal"),
        ),
        optim=Optim(build=muon, lr=0.05, weight_decay=0.03, schedule=cosine, warmup="5%", ema=0.99),
        augment=compose(flip),
        duration="2750 steps",
        evaluate=Evaluate(every="1250 steps"),
        save_every="1250 steps",
    )


if __name__ == "__main__":
    experiment_file.main()
