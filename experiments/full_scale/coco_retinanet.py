"""COCO with RetinaNet over ResNet-50 and a feature pyramid, 34,068,119 parameters.

Reproduces: torchvision's retinanet_resnet50_fpn, box AP 36.4, which follows Lin et al. 2017, arXiv:1708.02002 (34.0 to
    35.7 there, by image size).
Command: python launch.py reproduce coco_retinanet
Time: 26 epochs of 117,266 images; a day a seed on one H200 is expected
Expected: ap 0.364, the published one; not run
Needs: coco/annotations with instances_train2017.json and instances_val2017.json, their images beside it, and the
    weights of ImageNet in the folder runs/resnet50: launch.py import resnet50 resnet50-0676ba61.pth
"""

from functools import partial

from cnn_jax.augment.geometry import flip
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim, Transfer
from cnn_jax.data.coco import coco
from cnn_jax.launch import experiment_file
from cnn_jax.launch.paper import Paper, Reproduction
from cnn_jax.models.retinanet import retinanet_resnet50_fpn
from cnn_jax.tasks.detect import detect
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import step


def experiment() -> Experiment:
    return Experiment(
        name="coco_retinanet",
        data=Data(
            source=partial(
                coco, path="coco/annotations/instances_*.json", size=((800, 1088), (1088, 800), (1088, 1088))
            ),
            validation=0.0,
            batch_size=16,
        ),
        model=Model(build=retinanet_resnet50_fpn, task=detect),
        optim=Optim(
            build=partial(sgd, nesterov=False),
            lr=0.01,
            weight_decay=1e-4,
            schedule=partial(step, at=(16 / 26, 22 / 26)),
            warmup="1000 steps",
        ),
        augment=flip,
        transfer=Transfer(weights="runs/resnet50", frozen_norm=True),
        duration="26 epochs",
        evaluate=Evaluate(every="0 steps", batch_size=16),
        save_every="1 epochs",
        compute=Compute(precision="bfloat16"),
    )


def reproduction() -> Reproduction:
    """COCO: RetinaNet with ResNet-50 and FPN."""
    paper = Paper(
        score="ap",
        value=0.364,
        margin=0.005,
        source="torchvision, RetinaNet_ResNet50_FPN_Weights.COCO_V1: box AP 36.4",
        protocol="The same network and losses, weights of ImageNet with norms as they are, flips, SGD at 0.01 with "
        "momentum 0.9, decay 1e-4, batches of 16, the rate over ten after 16 and 22 of 26 epochs, val2017, last "
        "step. There the short side has 800 pixels and the first stage does not learn; here images fill 800 x 1,088 "
        "either way or a square, the whole network learns, in bfloat16.",
    )
    return Reproduction(experiment(), paper, seconds=86_400, seeds=2, on="one H200, as expected")


if __name__ == "__main__":
    experiment_file.main()
