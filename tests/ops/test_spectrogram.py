"""Front ends against the libraries that they are named after, by results that spectrograms/make.py has stored."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.ops.pcen import pcen, smoothed
from cnn_jax.ops.spectrogram import frames, log_mel, mel, mfcc, stft
from tests.ops.spectrograms.make import RATE, clip

STORED = Path(__file__).parent / "spectrograms"
BANDS = {"rate": RATE, "window": 400, "hop": 400, "fft": 512, "mels": 24, "low": 50, "high": 7000}
CASES: dict[tuple[str, str], Callable[..., jax.Array]] = {
    ("librosa", "stft"): partial(stft, window=400, hop=800, fft=512),
    ("librosa", "mel"): partial(mel, **BANDS),
    ("librosa", "log_mel"): partial(log_mel, **BANDS),
    ("librosa", "top_db"): partial(log_mel, **BANDS, top_db=30),
    ("librosa", "relative"): partial(log_mel, **BANDS, top_db=30, relative=True),
    ("librosa", "defaults"): partial(log_mel, rate=RATE),
    ("librosa", "mfcc"): partial(mfcc, **BANDS, coefficients=13),
    ("librosa", "pcen"): lambda x: pcen(mel(x, **BANDS, power=1), hop=400 / RATE, start=1),
    ("panns", "log_mel"): partial(log_mel, **{**BANDS, "window": 512}, edges="reflect"),
    ("torchaudio", "log_mel"): partial(log_mel, **BANDS, convention="torchaudio"),
    ("torchaudio", "defaults"): partial(log_mel, rate=RATE, convention="torchaudio"),
    ("torchaudio", "mfcc"): partial(mfcc, **BANDS, convention="torchaudio", coefficients=13),
    ("torchaudio", "mfcc_log"): partial(
        mfcc, **BANDS, convention="torchaudio", coefficients=13, log="ln_plus", floor=1e-6
    ),
    ("kaldi", "log_mel"): partial(log_mel, rate=RATE, convention="kaldi"),
    ("kaldi", "mfcc"): partial(mfcc, rate=RATE, convention="kaldi"),
    ("kaldi", "without_energy"): partial(mfcc, rate=RATE, convention="kaldi", mels=24, high=7000),
    ("tensorflow", "mfcc"): partial(mfcc, rate=RATE, convention="tensorflow"),
}


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], np.ndarray]:
    """All of them in one compiled function, of two clips of which the first has zeros before the other one's sound."""
    both = np.stack([clip(), -0.2 * clip()[::-1]])[..., None]
    return jax.device_get(jax.jit(lambda x: {key: make(x) for key, make in CASES.items()})(both))


@pytest.mark.filterwarnings("ignore:.*mel bands lie between")
@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_equals_the_library(case: tuple[str, str], found: dict[tuple[str, str], np.ndarray]) -> None:
    library, name = case
    with np.load(STORED / f"{library}.npz") as stored:
        wanted = stored[name]
    ours = found[case][0, ..., 0]
    columns = slice(1, None) if name == "without_energy" else slice(None)  # Kaldi's own default has the energy there
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(ours[:, columns], wanted[:, columns], rtol=1e-4, atol=1e-4 * scale)
    assert np.median(np.abs(ours[:, columns] - wanted[:, columns])) < 1e-5 * scale


def test_a_clip_does_not_depend_on_its_neighbours(found: dict[tuple[str, str], np.ndarray]) -> None:
    alone = jax.jit(lambda x: {key: make(x) for key, make in CASES.items() if key[1] in ("top_db", "pcen")})
    assert found["librosa", "relative"].max((1, 2, 3)).tolist() == [0, 0]
    for key, value in alone(clip()[None, :, None]).items():
        np.testing.assert_allclose(value[0], found[key][0], rtol=1e-6, atol=1e-6)


def test_channels_are_computed_each_and_silence_has_a_gradient() -> None:
    x = np.stack([clip(800), np.zeros(800, np.float32)], -1)[None]
    front = partial(mfcc, rate=RATE, convention="tensorflow")

    def run(x: jax.Array) -> tuple[jax.Array, ...]:
        both, pull = jax.vjp(front, x)
        return both, front(x[..., :1]), pull(jnp.ones_like(both))[0]

    both, first, gradient = jax.jit(run)(x)
    assert both.shape == (1, 3, 13, 2)
    np.testing.assert_allclose(both[..., :1], first, rtol=1e-5, atol=1e-4)
    assert np.isfinite(gradient).all() and np.abs(gradient[..., 0]).max() > 0 and not gradient[..., 1].any()


@pytest.mark.parametrize(("size", "hop"), [(6, 4), (7, 3), (2, 5), (40, 1)])
def test_frames(size: int, hop: int) -> None:
    x = np.arange(60.0).reshape(1, 60)
    wanted = np.stack([x[0, k : k + size] for k in range(0, 61 - size, hop)])
    np.testing.assert_array_equal(jax.jit(lambda x: frames(x, size, hop))(x)[0], wanted)


def test_smoothing_is_its_recursion() -> None:
    x = np.random.default_rng(0).normal(size=(2, 9, 3))
    y, wanted = np.zeros((2, 3)) + 5, []
    for t in range(9):
        wanted.append(y := 0.8 * y + 0.2 * x[:, t])
    run = jax.jit(lambda x, before: (smoothed(x, 0.2, before), pcen(jnp.ones((1, 9, 3, 1)), hop=0.01)))
    ours, steady = run(x, np.full((2, 3), 5.0))
    np.testing.assert_allclose(ours, np.stack(wanted, 1), rtol=1e-5)
    # What goes on as it begins is normalised from the first frame on.
    np.testing.assert_allclose(steady, np.broadcast_to(steady[:, :1], steady.shape), rtol=1e-5)


def test_bad_settings_are_one_line() -> None:
    x = jax.ShapeDtypeStruct((1, 300, 1), "float32")
    for make, message in (
        (partial(log_mel, convention="torch"), "convention must be one of librosa"),
        (partial(log_mel, edges="reflect"), "clip of 300 samples is too short .* needs 1025"),
        (partial(mel, low=5000, high=100), "0 <= low < high"),
        (partial(mfcc, coefficients=200), "1 to 128 coefficients"),
        (partial(log_mel, window=100, fft=64), "shorter than its window"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(partial(make, rate=RATE), x)
    with pytest.raises(ValueError, match="int16"):
        jax.eval_shape(partial(log_mel, rate=RATE), jax.ShapeDtypeStruct((1, 300, 1), "int16"))
    with pytest.warns(UserWarning, match="of 128 mel bands lie between two bins"):
        jax.eval_shape(partial(log_mel, rate=RATE, window=256), x)
