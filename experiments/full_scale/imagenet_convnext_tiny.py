"""ImageNet with ConvNeXt-T, 28,589,128 parameters, in 300 epochs of strong augmentation.

Reproduces: Liu et al. 2022, arXiv:2201.03545, table 1 and appendix A.1: top-1 82.1 %.
Command: python launch.py reproduce imagenet_convnext_tiny
Time: 300 epochs of 1,281,167 images; 5 days a seed on one H200 are expected, a day on eight
Expected: top1 0.821, the published one; not run
Needs: ImageNet in the folders imagenet/train and imagenet/val, with a folder for each class
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.erase import random_erasing
from cnn_jax.augment.geometry import flip
from cnn_jax.augment.mix import mixup_or_cutmix
from cnn_jax.augment.policy import rand_augment
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.folder import folder
from cnn_jax.launch import experiment_file
from cnn_jax.launch.paper import Paper, Reproduction
from cnn_jax.models.convnext import convnext_tiny
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="imagenet_convnext_tiny",
        data=Data(
            source=partial(
                folder, path="imagenet", size=224, crop=0.875, interpolation="bicubic", random_area=(0.08, 1.0)
            ),
            validation=0.0,
            batch_size=4096,
        ),
        model=Model(build=partial(convnext_tiny, drop_path=0.1), task=partial(classify, label_smoothing=0.1)),
        optim=Optim(
            build=adamw,
            lr=4e-3,
            weight_decay=0.05,
            schedule=cosine,
            warmup="20 epochs",
            accumulate=16,
            ema=0.9999,
        ),
        augment=compose(
            flip,
            partial(rand_augment, n=2, magnitude=9),
            partial(random_erasing, probability=0.25, area=(0.02, 1 / 3)),
            mixup_or_cutmix,
        ),
        duration="300 epochs",
        evaluate=Evaluate(every="0 steps"),
        save_every="1 epochs",
        compute=Compute(precision="bfloat16"),
    )


def reproduction() -> Reproduction:
    """ImageNet: ConvNeXt-T, 300 epochs."""
    paper = Paper(
        score="top1",
        value=0.821,
        margin=0.005,
        source="Liu et al. 2022, arXiv:2201.03545, table 1: 82.1 %",
        protocol="The same network and its table 5: AdamW at 4e-3, batches of 4,096, decay 0.05, 20 epochs of "
        "warm-up and a cosine to 0, RandAugment (2, 9), mixup 0.8 or CutMix 1.0, erasing 0.25, label smoothing and "
        "stochastic depth 0.1, the average of weights by 0.9999. There RandAugment varies its magnitude by 0.5, and "
        "mixing one weight for a whole batch; here each pair of images has its own.",
    )
    return Reproduction(experiment(), paper, seconds=5 * 86_400, seeds=2, on="one H200, as expected")


if __name__ == "__main__":
    experiment_file.main()
