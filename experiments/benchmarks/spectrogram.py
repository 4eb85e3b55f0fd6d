"""How fast log-mel spectrograms are made, beside torchaudio's on the same CPU, in turns within one run.

Command: python experiments/benchmarks/spectrogram.py
Time: a minute on two CPU cores
Needs: pip install torchaudio

Both make the same numbers, which is checked first: power in mel bands by torchaudio's convention, in decibels. A row is
a batch: the median time of each, over RUNS turns of both, and how many times as long ours takes.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from absl import flags

from cnn_jax.devices import ask_for_huge_pages
from cnn_jax.launch import script

RUNS = flags.DEFINE_integer("runs", 15, "turns that are timed, after two that are not", lower_bound=5)
CASES = {  # batch, seconds, rate, and the settings of both
    "32 x 1 s at 16 kHz, 25 ms every 10 ms, 40 bands": (
        32,
        1,
        16_000,
        {"window": 400, "hop": 160, "fft": 512, "mels": 40},
    ),
    "8 x 10 s at 32 kHz, 32 ms every 10 ms, 64 bands": (
        8,
        10,
        32_000,
        {"window": 1024, "hop": 320, "fft": 1024, "mels": 64},
    ),
    "64 x 1.5 s at 32 kHz, 32 ms every 15 ms, 64 bands": (
        64,
        1.5,
        32_000,
        {"window": 1024, "hop": 480, "fft": 1024, "mels": 64},
    ),
}


def main() -> None:
    print(f"{'batch':52} {'torchaudio':>11} {'cnn_jax':>9} {'ratio':>6}")
    for name, (batch, seconds, rate, settings) in CASES.items():
        sounds = np.random.default_rng(0).normal(0, 0.1, (batch, round(seconds * rate))).astype(np.float32)
        theirs, ours = of_torchaudio(sounds, rate, settings), of_this_project(sounds, rate, settings)
        far = np.abs(theirs() - ours()).max()
        if far > 1e-2:  # of a hundred decibels
            raise script.Failed(f"{name}: they differ by {far:g} dB")
        times: dict[str, list[float]] = {"theirs": [], "ours": []}
        for run in range(RUNS.value + 2):
            for side, function in (("theirs", theirs), ("ours", ours)):
                began = time.perf_counter()
                function()
                if run > 1:
                    times[side].append(time.perf_counter() - began)
        other, own = (1000 * statistics.median(found) for found in times.values())
        print(f"{name:52} {other:8.1f} ms {own:6.1f} ms {own / other:6.2f}", flush=True)


def of_this_project(sounds: np.ndarray, rate: int, settings: dict[str, int]) -> Callable[[], np.ndarray]:
    import jax

    from cnn_jax.ops.spectrogram import log_mel

    function = jax.jit(partial(log_mel, rate=rate, convention="torchaudio", **settings))  # type: ignore[arg-type]
    x = jax.device_put(sounds[..., None])
    return lambda: np.asarray(function(x))[..., 0]


def of_torchaudio(sounds: np.ndarray, rate: int, settings: dict[str, int]) -> Callable[[], np.ndarray]:
    import torch
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    names = {"window": "win_length", "hop": "hop_length", "fft": "n_fft", "mels": "n_mels"}
    known: dict[str, Any] = {names[name]: value for name, value in settings.items()}
    mel, decibels, x = MelSpectrogram(rate, **known), AmplitudeToDB("power", None), torch.from_numpy(sounds)

    def function() -> np.ndarray:
        with torch.inference_mode():
            return decibels(mel(x)).transpose(1, 2).numpy()

    return function


if __name__ == "__main__":
    ask_for_huge_pages()  # as for a training, and for both
    script.run(main)
