"""Makes the stored results of tests/ops/test_spectrogram.py, by the libraries themselves.

python make.py torch       with librosa 0.11, torchaudio 2.11: librosa.npz, torchaudio.npz, kaldi.npz
python make.py panns       with torchlibrosa 0.1.0, which the authors of PANNs use: panns.npz
python make.py tensorflow  with TensorFlow 2.21: tensorflow.npz
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RATE = 16_000


def clip(length: int = 3200) -> np.ndarray:
    """A tone that falls, noise that fades, and a silent end: [length] float32 in [-1, 1]."""
    time = np.arange(length) / RATE
    noise = np.random.RandomState(0).uniform(-1, 1, length) * np.exp(-30 * time)
    tone = 0.3 * np.sin(2 * np.pi * (900 * time - 1500 * time**2))
    return np.where(time < 0.17, 0.4 * noise + tone, 0).astype(np.float32)


def by_torch() -> None:
    import librosa
    import torch
    import torchaudio
    from torchaudio.compliance import kaldi

    x = clip()
    settings = {"sr": RATE, "n_fft": 512, "win_length": 400, "hop_length": 400, "n_mels": 24, "fmin": 50, "fmax": 7000}
    mel = librosa.feature.melspectrogram(y=x, **settings)
    db = librosa.power_to_db(mel, top_db=None)
    defaults = librosa.feature.melspectrogram(y=x, sr=RATE)
    magnitude = librosa.feature.melspectrogram(y=x, power=1, **settings)
    save(
        "librosa",
        stft=librosa.stft(x, n_fft=512, win_length=400, hop_length=800).T.astype(np.complex64),
        mel=mel.T,
        log_mel=db.T,
        top_db=librosa.power_to_db(mel, top_db=30).T,
        relative=librosa.power_to_db(mel, ref=np.max, top_db=30).T,
        defaults=librosa.power_to_db(defaults, top_db=None).T,
        mfcc=librosa.feature.mfcc(S=db, n_mfcc=13).T,
        pcen=librosa.pcen(magnitude * 2**31, sr=RATE, hop_length=400).T,
    )
    wave = torch.from_numpy(x)
    kwargs = {"n_fft": 512, "win_length": 400, "hop_length": 400, "n_mels": 24, "f_min": 50, "f_max": 7000}
    to_db = torchaudio.transforms.AmplitudeToDB("power", None)
    mfcc = torchaudio.transforms.MFCC(RATE, 13, melkwargs=kwargs)
    mfcc.amplitude_to_DB = to_db
    logs = torchaudio.transforms.MFCC(RATE, 13, melkwargs=kwargs, log_mels=True)
    save(
        "torchaudio",
        log_mel=to_db(torchaudio.transforms.MelSpectrogram(RATE, **kwargs)(wave)).T,
        defaults=to_db(torchaudio.transforms.MelSpectrogram(RATE)(wave)).T,
        mfcc=mfcc(wave).T,
        mfcc_log=logs(wave).T,
    )
    loud = wave[None] * 32768
    save(
        "kaldi",
        log_mel=kaldi.fbank(loud, dither=0, sample_frequency=RATE),
        mfcc=kaldi.mfcc(loud, dither=0, sample_frequency=RATE, use_energy=True, energy_floor=0),
        without_energy=kaldi.mfcc(loud, dither=0, sample_frequency=RATE, num_mel_bins=24, high_freq=7000),
    )


def by_panns() -> None:
    import torch
    from torchlibrosa.stft import LogmelFilterBank, Spectrogram

    power = Spectrogram(n_fft=512, hop_length=400, win_length=512, pad_mode="reflect")(torch.from_numpy(clip())[None])
    bands = LogmelFilterBank(sr=RATE, n_fft=512, n_mels=24, fmin=50, fmax=7000, ref=1.0, amin=1e-10, top_db=None)
    save("panns", log_mel=bands(power)[0, 0])


def by_tensorflow() -> None:
    import tensorflow as tf

    spectrogram = tf.raw_ops.AudioSpectrogram(
        input=clip()[:, None], window_size=480, stride=160, magnitude_squared=True
    )
    save("tensorflow", mfcc=tf.raw_ops.Mfcc(spectrogram=spectrogram, sample_rate=RATE)[0].numpy())


def save(name: str, **arrays: object) -> None:
    np.savez_compressed(HERE / f"{name}.npz", **{key: np.asarray(value) for key, value in arrays.items()})


if __name__ == "__main__":
    {"torch": by_torch, "panns": by_panns, "tensorflow": by_tensorflow}[sys.argv[1]]()
