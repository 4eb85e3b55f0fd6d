"""Families of instruments from one recorded note, and whether that holds for the notes of another soundfont.

Reproduces: nothing. A support vector machine on statistics of log-mel spectra stands beside it
    (experiments/studies/sound_svm.py).
Command: python launch.py train experiments/instruments.py --seeds=0,1,2
Time: 146 CPU-seconds a seed
Expected: top1 0.876 ± 0.039, and 0.459 ± 0.033 on the other soundfont (n=3, last step); the support vector machine has
    0.796 and 0.303
Needs: apt-get install fluid-soundfont-gm timgm6mb-soundfont
"""

from functools import partial

from cnn_jax.augment.signal import noise1d
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.instruments import instruments
from cnn_jax.evals.also.elsewhere import elsewhere
from cnn_jax.launch import experiment_file
from cnn_jax.models.panns import PANN
from cnn_jax.models.spectrogram_net import SpectrogramNet
from cnn_jax.ops.spectrogram import log_mel
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine

# Families are told apart by how a note begins and by its overtones: windows of 64 ms part the overtones of low notes.
# The test notes are of instruments that are in train, so what would hide them is left out: on a validation split of a
# fifth, stretching costs .02 and mixup .04, and 150 epochs in place of 60 bring .07.
net = partial(PANN, features=(24, 48, 96), blocks=(1, 1, 1), hidden=64, dropout=0.0, head_dropout=0.0)
front = partial(log_mel, rate=16_000, window=1024, hop=320, mels=64, low=30, top_db=60, relative=True)


def experiment() -> Experiment:
    return Experiment(
        name="instruments",
        data=Data(source=instruments, validation=0.0, batch_size=32),
        model=Model(
            build=partial(SpectrogramNet, net=net, front=front, norm=None),
            task=partial(classify, label_smoothing=0.1),
        ),
        optim=Optim(build=adamw, lr=3e-3, weight_decay=0.05, schedule=cosine, warmup="10%", ema=0.98),
        augment=partial(noise1d, snr=(20.0, 60.0), probability=0.5),
        duration="200 epochs",
        evaluate=Evaluate(
            every="0%", batch_size=128, also=partial(elsewhere, source="instruments(font='timgm6mb')", name="timgm6mb")
        ),
        save_every="0%",
    )


if __name__ == "__main__":
    experiment_file.main()
