"""PASCAL VOC 2012 with DeepLabV3 over ResNet-101, 30,000 steps.

Reproduces: Chen et al. 2017, arXiv:1706.05587, table 5: mean IoU 77.21 % of the val split at output stride 16.
Command: python launch.py reproduce voc_deeplabv3
Time: 30,000 steps of 16 crops of 513 x 513; 6 h a seed on one H200 are expected
Expected: mean_iou 0.7721, the published one; not run
Needs: the 10,582 pictures of trainaug (Hariharan et al. 2011) in voc/train/images and voc/train/masks, the 1,449 of val
    in voc/val/images and voc/val/masks, voc/classes.txt, and the weights of ImageNet in the folder runs/resnet101:
    launch.py import resnet101 resnet101-63fe2227.pth
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip, scale_jitter
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim, Transfer
from cnn_jax.data.masks import masks
from cnn_jax.launch import experiment_file
from cnn_jax.launch.paper import Paper, Reproduction
from cnn_jax.models.deeplabv3 import DeepLabHead, deeplabv3_resnet101
from cnn_jax.tasks.segment import segment
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import Schedule

ATROUS = partial(DeepLabHead, rates=(6, 12, 18), dropout=0.0)


def poly(peak: float, steps: int, warmup: int, *, power: float = 0.9) -> Schedule:
    """The peak times (1 - step / steps) to the `power` (section 4.1 of the paper)."""
    del warmup
    return lambda count: peak * (1 - count / steps) ** power


def experiment() -> Experiment:
    return Experiment(
        name="voc_deeplabv3",
        data=Data(source=partial(masks, path="voc", size=513, resize="pad"), validation=0.0, batch_size=16),
        model=Model(
            build=partial(deeplabv3_resnet101, output_stride=16, head=ATROUS, aux=None),
            task=segment,
        ),
        optim=Optim(build=partial(sgd, nesterov=False), lr=0.007, weight_decay=1e-4, schedule=poly),
        augment=compose(flip, partial(scale_jitter, factor=(0.5, 2.0))),
        transfer=Transfer(weights="runs/resnet101"),
        duration="30000 steps",
        evaluate=Evaluate(every="0 steps", batch_size=16),
        save_every="1000 steps",
        compute=Compute(precision="bfloat16"),
    )


def reproduction() -> Reproduction:
    """PASCAL VOC 2012: DeepLabV3 with ResNet-101 at output stride 16."""
    paper = Paper(
        score="mean_iou",
        value=0.7721,
        margin=0.01,
        source="Chen et al. 2017, arXiv:1706.05587, table 5: 77.21 %, one scale, no mirror images, no COCO",
        protocol="The same pictures, rates 6, 12 and 18 with the mean of the image, SGD at 0.007 with momentum 0.9 "
        "and the poly schedule, batches of 16, 30,000 steps, scales of 0.5 to 2 and flips, norms that learn, last "
        "step. There the last block has rates 1, 2 and 4, in float32; here its rates are alike, in bfloat16. Pictures "
        "are added to up to 513 pixels, which is more than they have, and scored whole.",
    )
    return Reproduction(experiment(), paper, seconds=6 * 3600, on="one H200, as expected")


if __name__ == "__main__":
    experiment_file.main()
