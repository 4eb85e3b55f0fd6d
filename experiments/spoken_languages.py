"""A shortcut: languages that are each spoken by voices of their own. It measures the speaker, not the language.

Reproduces: nothing. The set is confounded, which is what it is for: see cnn_jax/data/spoken_languages.py. The score on
    the test split, whose words are new and whose voices are not, is beside that on other voices; what the network
    listens to says experiments/studies/speaker_shortcut.py.
Command: python launch.py train experiments/spoken_languages.py --seeds=0,1,2
Time: 40 s a seed on 2 CPU cores
Expected: top1 0.990 ± 0.001 on the test split, 0.121 ± 0.021 on other voices (n=3, last step); chance is 0.167
Needs: apt-get install tuxpaint-stamps-default ktuberling-data
"""

from functools import partial

from cnn_jax.augment.compose import identity
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.spoken_languages import spoken_languages
from cnn_jax.evals.also.elsewhere import elsewhere
from cnn_jax.launch import experiment_file
from cnn_jax.models.panns import PANN
from cnn_jax.models.spectrogram_net import SpectrogramNet
from cnn_jax.ops.spectrogram import log_mel
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine

net = partial(PANN, features=(16, 32, 64), blocks=(1, 1, 1), hidden=64, dropout=0.0, head_dropout=0.0)
front = partial(log_mel, rate=16_000, window=512, hop=320, mels=40, low=60, top_db=60, relative=True)


def experiment() -> Experiment:
    return Experiment(
        name="spoken_languages",
        data=Data(source=spoken_languages, validation=0.0, batch_size=64),
        model=Model(build=partial(SpectrogramNet, net=net, front=front, norm=None), task=classify),
        optim=Optim(build=adamw, lr=3e-3, weight_decay=0.05, schedule=cosine, warmup="10%"),
        augment=identity,
        duration="6 epochs",
        evaluate=Evaluate(
            every="0%",
            batch_size=128,
            also=partial(elsewhere, source="spoken_languages(source='ktuberling')", name="other_voices"),
        ),
        save_every="0%",
    )


if __name__ == "__main__":
    experiment_file.main()
