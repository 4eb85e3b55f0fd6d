"""MNIST-1D with a deeper network: six normalised 1-D convolutions, 95,114 parameters.

Reproduces: nothing; it shows what is reached on the 4,000 signals of Greydanus & Kobak's data set
    (arXiv:2011.14439), where the published CNN gets 94 % and a person 96 %.
Command: python launch.py train experiments/mnist1d.py --seeds=0,1,2
Time: 12 s a seed on 2 CPU cores
Expected: top1 0.993 ± 0.003 on the test split (n=3, last step)
"""

from cnn_jax.augment.compose import identity
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.mnist1d import mnist1d
from cnn_jax.launch import experiment_file
from cnn_jax.models.mnist1d_cnn import deep
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import one_cycle


def experiment() -> Experiment:
    return Experiment(
        name="mnist1d",
        data=Data(source=mnist1d, validation=0.0, batch_size=100),
        model=Model(build=deep, task=classify),
        optim=Optim(build=adamw, lr=5e-3, weight_decay=0.05, schedule=one_cycle, warmup="30%"),
        augment=identity,
        duration="1500 steps",
        evaluate=Evaluate(every="0 steps"),
        save_every="500 steps",
    )


if __name__ == "__main__":
    experiment_file.main()
