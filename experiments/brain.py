"""The brain, or seven of its regions, on the unseen half of a head in magnetic resonance: a small U-Net.

Reproduces: nothing. The head is Colin27, the regions those of the atlas AAL put together; train is the left hemisphere,
    test the right one. What needs no training is scored by experiments/studies/segmentation_baselines.py: the best
    window of grey values for the brain, the left hemisphere mirrored for both.
Command: python launch.py train experiments/brain.py --seeds=0,1,2, for the regions with
    --config.data.source="colin27(parts='regions')"
Time: not measured yet
Expected: IoU of the brain .95 (mirrored: .915, by grey values: .643), mean Dice of the regions above .841 (mirrored)
    are aimed at; not measured yet
Needs: apt-get install mricron-data
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip, rotate, scale
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.colin27 import colin27
from cnn_jax.launch import experiment_file
from cnn_jax.models.unet import UNet
from cnn_jax.ops.segmentation_losses import cross_entropy, dice, total
from cnn_jax.tasks.segment import segment
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="brain",
        data=Data(source=colin27, validation=0.0, batch_size=4),
        model=Model(
            build=partial(UNet, features=16, levels=5),
            task=partial(segment, loss=total(cross_entropy, partial(dice, background=0)), flips="horizontal"),
        ),
        optim=Optim(build=adamw, lr=2e-3, weight_decay=0.05, schedule=cosine, warmup="5%", ema=0.99),
        augment=compose(flip, partial(rotate, degrees=10), partial(scale, factor=(0.9, 1.1))),
        duration="1200 steps",
        evaluate=Evaluate(every="0 steps"),
        save_every="400 steps",
    )


if __name__ == "__main__":
    experiment_file.main()
