"""CIFAR-10 with the thin ResNet of 20 layers, 269,722 parameters.

Reproduces: He et al. 2015, arXiv:1512.03385, section 4.2 and table 6: error 8.75 %.
Command: python launch.py reproduce cifar10_resnet20
Time: 64,000 steps of 128 images; 10 min a seed on one H100 are expected, 9 h on 2 CPU cores
Expected: top1 0.9125, the published one; not run
Needs: CIFAR-10 as prepared by TensorFlow Datasets (launch.py doctor says where it looks)
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import flip, shift
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.tfds import tfds
from cnn_jax.launch import experiment_file
from cnn_jax.launch.paper import Paper, Reproduction
from cnn_jax.models.cifar_resnet import resnet20
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import step


def experiment() -> Experiment:
    return Experiment(
        name="cifar10_resnet20",
        data=Data(source=partial(tfds, name="cifar10"), validation=0.1, batch_size=128),
        model=Model(build=resnet20, task=classify),
        optim=Optim(build=partial(sgd, nesterov=False), lr=0.1, weight_decay=1e-4, schedule=step),
        augment=compose(flip, partial(shift, pixels=4)),
        duration="64000 steps",
        evaluate=Evaluate(every="4000 steps"),
        save_every="2000 steps",
    )


def reproduction() -> Reproduction:
    """CIFAR-10: ResNet-20."""
    paper = Paper(
        score="top1",
        value=0.9125,
        margin=0.005,
        source="He et al. 2015, arXiv:1512.03385, table 6: error 8.75 %",
        protocol="The same network, 45,000 training images, crops and flips, SGD with momentum 0.9, batches of 128, "
        "the rate of 0.1 over ten at 32,000 and 48,000 of 64,000 steps, last step. There the decay of 1e-4 is of "
        "norms and biases, too, and only the mean of each pixel is subtracted.",
    )
    return Reproduction(experiment(), paper, seconds=600, seeds=5, on="one H100, as expected")


if __name__ == "__main__":
    experiment_file.main()
