"""Which of ten languages a word is of, by its letters: a TextCNN on characters.

Reproduces: nothing.
Command: python launch.py train experiments/word_languages.py --seeds=0,1,2; beside TF-IDF of up to 4 letters and a
    linear model on the same split by python experiments/studies/text_baselines.py word_languages
Time: 185 CPU-seconds a seed, the linear model included, and 24 once for the draw of the words
Expected: top1 0.863 ± 0.001 (n=3, last step); the linear model has 0.893 on the same words
Needs: apt-get install wamerican wfrench wngerman witalian wspanish wportuguese wdutch wswedish wdanish wpolish
"""

from functools import partial

from cnn_jax.augment.compose import identity
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.word_languages import word_languages
from cnn_jax.launch import experiment_file
from cnn_jax.models.textcnn import textcnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="word_languages",
        data=Data(source=word_languages, validation=0.0, batch_size=256),
        model=Model(build=partial(textcnn, dim=32, features=256, widths=(2, 3, 4, 5), limit=0.1), task=classify),
        optim=Optim(build=adamw, lr=2e-3, weight_decay=0.05, schedule=cosine, warmup="5%"),
        augment=identity,
        duration="10 epochs",
        evaluate=Evaluate(every="0%"),
        save_every="4 epochs",
    )


if __name__ == "__main__":
    experiment_file.main()
