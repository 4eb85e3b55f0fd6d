"""Hits of drums: which part of the kit was struck, on kits that were never heard.

Reproduces: nothing. A support vector machine on statistics of log-mel spectra stands beside it, on the same folds
    (experiments/studies/sound_svm.py).
Command: python launch.py train experiments/drums.py --seeds=0,1,2 --workdir=runs/drums/fold1, and for the folds 2 to 5
    with --config.data.source='drums(fold=2, rate=32000, seconds=1.5)'
Time: 61 CPU-seconds a seed
Expected: top1 0.761 ± 0.011, the mean over the five folds (n=3, last step), 0.720 in the worst; the support vector
    machine has 0.662 and 0.516. Settings were chosen by looking at folds 2 and 3
Needs: apt-get install hydrogen-drumkits hydrogen-data
"""

from functools import partial

from cnn_jax.augment.compose import compose
from cnn_jax.augment.mix import mixup
from cnn_jax.augment.signal import noise1d, stretch1d
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.drums import drums
from cnn_jax.launch import experiment_file
from cnn_jax.models.panns import PANN
from cnn_jax.models.spectrogram_net import SpecAugment, SpectrogramNet
from cnn_jax.ops.spectrogram import log_mel
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine

# Cymbals are told apart by what lies above 8 kHz, and by how they ring: hence the rate, and more than a second. A kit
# is tuned otherwise than another, recorded otherwise, and played louder: hence stretching (which shifts the pitch),
# masks of whole bands, and decibels below the loudest, of which those beyond 60 would tell kits apart by their noise.
# The network is a narrow Cnn6 of PANNs with convolutions of 3x3 and without its dropout, under which so few channels
# learn next to nothing of 376 sounds: the accuracy on training sounds stays below a half.
net = partial(PANN, features=(16, 32, 64), blocks=(1, 1, 1), hidden=64, dropout=0.0, head_dropout=0.0)
front = partial(log_mel, rate=32_000, window=2048, hop=960, mels=40, low=30, top_db=60, relative=True)
masks = partial(SpecAugment, bins=1, width=6, frames=1, length=6)


def experiment() -> Experiment:
    return Experiment(
        name="drums",
        data=Data(source=partial(drums, rate=32_000, seconds=1.5), validation=0.0, batch_size=32),
        model=Model(
            build=partial(SpectrogramNet, net=net, front=front, norm=None, masks=masks),
            task=partial(classify, label_smoothing=0.1),
        ),
        optim=Optim(build=adamw, lr=3e-3, weight_decay=0.05, schedule=cosine, warmup="10%", ema=0.98),
        augment=compose(
            partial(stretch1d, factor=(0.75, 1.33)),
            partial(noise1d, snr=(15.0, 50.0), probability=0.5),
            partial(mixup, alpha=0.2),
        ),
        duration="60 epochs",
        evaluate=Evaluate(every="0%", batch_size=128),
        save_every="0%",
    )


if __name__ == "__main__":
    experiment_file.main()
