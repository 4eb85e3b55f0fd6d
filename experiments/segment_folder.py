"""Classes of pixels in pictures of your own: a small U-Net from scratch, on crops.

Reproduces: nothing. It is the recipe to begin with for your own masks; Tux Paint's stamps on photos stand in for them.
Command: python launch.py train experiments/segment_folder.py --config.data.source=masks:PATH
Time: not measured yet
Expected: not measured yet
Needs: for the stamps apt-get install tuxpaint-stamps-default

PATH has the folders images and masks, see the docstring of cnn_jax/data/masks.py; launch.py describe masks:PATH shows
what is in them, and a plan for training. launch.py train PATH/ writes an experiment by that plan, and trains it. These
settings suit small sets: sides of up to 128 pixels are seen whole, of longer ones random crops, a third of them around
a pixel that is not of class 0.
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.crop import crop
from cnn_jax.augment.geometry import flip, scale
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.tuxpaint import tuxpaint
from cnn_jax.launch import experiment_file
from cnn_jax.models.unet import unet
from cnn_jax.ops.segmentation_losses import cross_entropy, dice, total
from cnn_jax.tasks.segment import segment
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="segment_folder",
        data=Data(source=partial(tuxpaint, targets="class_map"), validation=0.1, batch_size=8),
        model=Model(build=partial(unet, features=16, levels=5), task=partial(segment, loss=total(cross_entropy, dice))),
        optim=Optim(build=adamw, lr=3e-3, weight_decay=0.05, schedule=cosine, warmup="10%", clip=1.0),
        augment=compose(partial(crop, size=128, foreground=1 / 3), flip, scale),
        duration="1500 steps",
        evaluate=Evaluate(every="10%", batch_size=8),
        save_every="10%",
    )


if __name__ == "__main__":
    experiment_file.main()
