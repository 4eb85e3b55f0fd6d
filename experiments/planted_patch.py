"""Four patterns planted in Fashion-MNIST: what decides is known to the pixel, so that explanations can be marked.

Reproduces: no paper; a test of attribution methods with a ground truth, as BAM (Yang & Kim 2019, arXiv:1907.09701).
Command: python launch.py train experiments/planted_patch.py --seeds=0,1
Time: 12 s a seed on 2 CPU cores
Expected: top1 0.9980 ± 0.0001 on the test split (n=2, last step)
"""

from functools import partial

from cnn_jax.augment.compose import identity
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.planted_patch import planted_patch
from cnn_jax.launch import experiment_file
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="planted_patch",
        data=Data(source=planted_patch, validation=0.02, batch_size=128),
        model=Model(build=partial(small_cnn, features=(16, 32), hidden=64, dropout=0.0), task=classify),
        optim=Optim(build=adamw, lr=3e-3, weight_decay=0.01, schedule=cosine, warmup="10%"),
        augment=identity,
        duration="200 steps",
        evaluate=Evaluate(every="50 steps"),
        save_every="40 steps",
        keep=5,
    )


if __name__ == "__main__":
    experiment_file.main()
