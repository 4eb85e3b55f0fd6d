"""What kind of thing a definition speaks of, one of 25, by WordNet's glosses: a TextCNN on words.

Reproduces: nothing.
Command: python launch.py train experiments/wordnet.py --seeds=0,1,2; beside TF-IDF and a linear model on the same split
    by python experiments/studies/text_baselines.py wordnet
Time: 9 min a seed on one CPU core, beside other work
Expected: top1 0.849 ± 0.002 (n=3, last step); the linear model has 0.833 on the same glosses
Needs: apt-get install wordnet-base
"""

from functools import partial

from cnn_jax.augment.text import token_dropout
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.wordnet import wordnet
from cnn_jax.launch import experiment_file
from cnn_jax.models.textcnn import textcnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="wordnet",
        data=Data(source=wordnet, validation=0.0, batch_size=256),
        model=Model(build=partial(textcnn, dim=128, features=256, widths=(1, 2, 3, 4, 5), limit=0.05), task=classify),
        optim=Optim(build=adamw, lr=4e-3, weight_decay=0.05, schedule=cosine, warmup="5%"),
        augment=partial(token_dropout, probability=0.05),
        duration="6 epochs",
        evaluate=Evaluate(every="0%"),
        save_every="2 epochs",
    )


if __name__ == "__main__":
    experiment_file.main()
