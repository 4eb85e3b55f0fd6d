"""Yes or no in a sentence of a film review, by the first network of texts: CNN-rand, as Kim (2014) trained it.

Reproduces: Kim 2014, table 2, MR: 76.1 of CNN-rand, the mean of ten folds; a careful reproduction has 74.4 ± 1.0
    (github.com/Shawn1993/cnn-text-classification-pytorch, issue 29). As there, a tenth of train chooses the epoch;
    unlike there, the vocabulary is of train alone, and the 50 texts of a batch are of like lengths.
Command: python launch.py train experiments/movie_reviews.py; the ten folds beside the paper's score by python launch.py
    reproduce movie_reviews, and three seeds of each beside TF-IDF and a linear model on the same ones by python
    experiments/studies/text_baselines.py movie_reviews
Time: 520 CPU-seconds a fold, of which half are Adadelta's on 17,000 vectors
Expected: top1 0.753, the mean of ten folds (95 % 0.742 to 0.764, one seed each, on an H200), which is within the margin
    of the paper's; two more seeds of each fold have 0.748 ± 0.004, and the linear model has 0.784 on the same
Needs: pip download --no-deps --no-binary :all: vadersentiment==2.5, in the folder CNN_JAX_DATA
"""

from functools import partial

from cnn_jax.augment.compose import identity
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.movie_reviews import movie_reviews
from cnn_jax.launch import experiment_file
from cnn_jax.launch.paper import Paper, Reproduction
from cnn_jax.models.textcnn import textcnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adadelta
from cnn_jax.train.schedules import constant


def experiment() -> Experiment:
    return Experiment(
        name="movie_reviews",
        data=Data(source=movie_reviews, validation=0.1, batch_size=50),
        model=Model(build=textcnn, task=classify),
        optim=Optim(build=partial(adadelta, max_norm=3.0), lr=1.0, schedule=constant),
        augment=identity,
        duration="25 epochs",
        evaluate=Evaluate(patience=25),  # all of them, and the best by validation is scored, as the authors' code does
    )


def reproduction() -> Reproduction:
    """CNN-rand on sentences of film reviews (MR), the mean of ten folds."""
    paper = Paper(
        score="top1",
        value=0.761,
        margin=0.02,
        source="Kim 2014, EMNLP, arXiv:1408.5882, table 2, MR, CNN-rand: 76.1",
        protocol="The same network, Adadelta, norm of 3, dropout and batches of 50, 25 epochs at most, the epoch "
        "chosen by a tenth of train, the mean of ten folds. The folds are drawn anew, 57 of 10,662 "
        "sentences are missing, 2 that stand there twice are left out, and the vocabulary is of train "
        "alone, there of all. Margin: a point, of which careful repeats of the ten folds differ, and a "
        "point by which the interval of a mean of ten folds of 1,060 sentences each is wide.",
    )
    made = experiment()
    made.name = "movie_reviews_folds"
    return Reproduction(
        made, paper, seconds=600, seeds=10, of_seed=lambda seed: {"data.source": partial(movie_reviews, fold=seed)}
    )


if __name__ == "__main__":
    experiment_file.main()
