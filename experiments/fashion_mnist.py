"""Fashion-MNIST with a small convolutional network.

Reproduces: the best small convolutional network without augmentation in the data set's official table, .934.
Command: python launch.py train experiments/fashion_mnist.py --seeds=0,1,2
Time: to be measured
Expected: to be measured
"""

from functools import partial

from cnn_jax.augment.geometry import flip
from cnn_jax.config import Data, Experiment, Model, Optim
from cnn_jax.launch import experiment_file
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import one_cycle


def experiment() -> Experiment:
    return Experiment(
        name="fashion_mnist",
        data=Data(source="fashion_mnist", batch_size=128),
        model=Model(build=small_cnn, task=partial(classify, label_smoothing=0.1)),
        optim=Optim(build=adamw, lr=3e-3, weight_decay=0.05, schedule=one_cycle, warmup="20%"),
        augment=flip,
        duration="12 epochs",
    )


if __name__ == "__main__":
    experiment_file.main()
