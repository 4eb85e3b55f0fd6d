"""What a network that seems to know languages listens to: the voice and its microphone, measured in several ways.

Command: python launch.py train experiments/spoken_languages.py --seeds=0,1,2
         python experiments/studies/speaker_shortcut.py --runs=runs/spoken_languages/seed0,...
Time: a minute a run on 2 CPU cores
Needs: runs of experiments/spoken_languages.py

Of the clips of the test split, whose words are new and whose voices are not, and of the same languages by other voices:

- top-1 as they are;
- with pieces of 50 ms in random order, so that no word is left and the voice is;
- played 20 % faster or slower, which is a higher or a deeper voice that says the same;
- with what is 40 dB below the loudest piece silenced, which is the room and the microphone;
- with the mean spectrum of another language's clips in the place of their own, words and melody as they were: how often
  the answer is the language whose spectrum it is, and how often still the own one;
- where in the spectrum the attribution lies. Input x gradient adds up over samples, and so, by Parseval, over
  frequencies: the shares of its size in octaves, beside those of the sound itself;
- what the units of the last feature map tell apart: the share of the variance of a unit's mean over a clip that the
  language explains (eta squared), where each language is one voice or few, for other voices, and by chance.

Of several runs a number is the mean over them, with their standard deviation. Writes shortcut.md to --workdir.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from numpy.typing import NDArray

from cnn_jax.launch import script
from cnn_jax.paths import written

RUNS = flags.DEFINE_list("runs", ["runs/spoken_languages"], "folders of runs, which differ in their seeds")
WORKDIR = flags.DEFINE_string("workdir", "runs/speaker_shortcut", "folder of the table")
PIECE = 0.05  # seconds
EDGES = (0, 250, 500, 1000, 2000, 4000, 8000)  # Hz
ATTRIBUTED = 64  # clips of which the attribution is taken
LAYER = "stage3"  # the last feature map

Sounds = NDArray[np.floating]  # [N, L]
Shares = NDArray[np.float64]


def main() -> None:
    found = [measured(run) for run in RUNS.value]
    lines = [f"{len(found)} runs: means, ± standard deviation" if len(found) > 1 else "one run", ""]
    lines += [
        "| top-1 | |",
        "|---|---|",
        *(f"| {name} | {over([one.scores[name] for one in found])} |" for name in found[0].scores),
    ]
    lines += ["", "| Hz | of the attribution | of the sound |", "|---|---|---|"]
    for k, (low, high) in enumerate(itertools.pairwise(EDGES)):
        lines.append(f"| {low} to {high} | {over([one.attributed[k] for one in found])} | {found[0].present[k]:.3f} |")
    lines += ["", "| of a unit's variance the language explains | |", "|---|---|"]
    lines += [f"| {name} | {over([one.explained[name] for one in found])} |" for name in found[0].explained]
    folder = written(WORKDIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shortcut.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


class Measured(NamedTuple):
    """Of one run. scores: top-1. attributed, present: [octaves], shares. explained: means over the units."""

    scores: dict[str, float]
    attributed: Shares
    present: Shares
    explained: dict[str, float]


def over(values: Sequence[float]) -> str:
    """The mean over runs and their standard deviation, where there are several."""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def measured(run: str) -> Measured:
    import jax

    from cnn_jax.data.source import in_memory
    from cnn_jax.data.spoken_languages import spoken_languages
    from cnn_jax.train.predictor import computed, features, load, predict

    predictor = load(written(run), devices=jax.devices()[:1]).predictor
    prepare = predictor.spec.prepare
    rate = prepare.rate  # type: ignore[attr-defined]
    how = {"rate": rate, "seconds": prepare.seconds}  # type: ignore[attr-defined]
    own, other = (
        clips(in_memory(spoken_languages(source=source, **how)["test"]))  # type: ignore[arg-type]
        for source in ("tuxpaint", "ktuberling")
    )
    name = next(iter(predictor.spec.inputs))

    def said(sounds: Sounds) -> NDArray[np.int64]:
        return predict(predictor, {name: sounds[..., None].astype(np.float32)})["logits"].argmax(-1)

    def units(sounds: Sounds) -> NDArray[np.float64]:
        function = features(predictor.model, prepare, name, (LAYER,))
        maps = computed(predictor, function, {name: sounds[..., None].astype(np.float32)})[LAYER]
        return maps.mean((1, 2), dtype=np.float64)

    sounds, labels = own
    classes = predictor.spec.classes
    draw = np.random.default_rng(0)
    donor = (labels + draw.integers(1, len(classes), len(labels))) % len(classes)
    exchanged = said(with_spectrum(sounds, labels, donor))
    found = said(sounds)
    scores = {
        "test split: the same voices, new words": accuracy(found, labels),
        "other voices (KTuberling)": accuracy(said(other[0]), other[1]),
        "test split, 50 ms pieces in random order": accuracy(said(shuffled(sounds, round(PIECE * rate))), labels),
        "test split, 20 % faster: a higher voice": accuracy(said(played(sounds, 1.2)), labels),
        "test split, 20 % slower: a deeper voice": accuracy(said(played(sounds, 1 / 1.2)), labels),
        "test split, quiet parts silenced": accuracy(said(silenced(sounds, round(0.02 * rate))), labels),
        "test split with the mean spectrum of another language: still the own": accuracy(exchanged, labels),
        "... and the language whose spectrum it is": accuracy(exchanged, donor),
        "chance": 1 / len(classes),
    }
    chosen = np.linspace(0, len(labels) - 1, ATTRIBUTED).round().astype(int)
    mine = units(sounds)
    explained = {
        "test split: the same voices": eta_squared(mine, labels),
        "other voices": eta_squared(units(other[0]), other[1]),
        "test split, languages in random order: chance": eta_squared(mine, draw.permutation(labels)),
    }
    return Measured(scores, *by_octave(predictor, sounds[chosen], found[chosen], rate), explained)


def eta_squared(values: NDArray[np.float64], labels: NDArray[Any]) -> float:
    """The share of the variance of values [N, U] that lies between the classes, in the mean over units that vary."""
    centred = values - values.mean(0)
    between = sum((labels == k).sum() * centred[labels == k].mean(0) ** 2 for k in np.unique(labels))
    whole = (centred**2).sum(0)
    return float((between[whole > 0] / whole[whole > 0]).mean())


def clips(source: Any) -> tuple[Sounds, NDArray[np.int32]]:
    from cnn_jax.data.spec import named

    batch = source.batch(np.arange(len(source)))
    return batch[named(source.spec.inputs, "signal")][..., 0], batch[named(source.spec.targets, "label")]


def accuracy(found: NDArray[Any], labels: NDArray[Any]) -> float:
    return float((found == labels).mean())


def shuffled(sounds: Sounds, piece: int) -> Sounds:
    """The pieces of each clip, as far as it sounds, in random order."""
    draw, changed = np.random.default_rng(0), sounds.copy()
    for row in changed:
        count = int(np.flatnonzero(np.append(row, 1.0))[-1] if not row.any() else np.flatnonzero(row)[-1] + 1) // piece
        parts = row[: count * piece].reshape(count, piece)
        row[: count * piece] = parts[draw.permutation(count)].ravel()
    return changed


def played(sounds: Sounds, speed: float) -> Sounds:
    """Clips at another speed, silent behind their end; of slower ones the beginning."""
    places = np.arange(sounds.shape[1]) * speed
    return np.stack([np.interp(places, np.arange(len(row)), row, right=0.0) for row in sounds])


def silenced(sounds: Sounds, piece: int, depth: float = 40.0) -> Sounds:
    """Clips with 0 in the place of pieces that are `depth` decibels below their loudest piece."""
    count = sounds.shape[1] // piece
    parts = sounds[:, : count * piece].reshape(len(sounds), count, piece)
    power = np.square(parts).mean(-1)
    loud = power > power.max(1, keepdims=True) * 10 ** (-depth / 10)
    return (parts * loud[..., None]).reshape(len(sounds), -1)


def with_spectrum(sounds: Sounds, labels: NDArray[Any], donor: NDArray[Any]) -> Sounds:
    """Each clip filtered so that its mean spectrum is that of another class: by the ratio of those of both classes."""
    spectra = np.fft.rfft(sounds)
    loud = np.abs(spectra) / np.maximum(np.linalg.norm(spectra, axis=1, keepdims=True), 1e-12)
    kernel = np.hanning(65) / np.hanning(65).sum()  # over 43 Hz: no single overtone counts
    mean = np.stack([
        np.convolve(np.square(loud[labels == k]).mean(0), kernel, mode="same") for k in range(labels.max() + 1)
    ])  # fmt: skip
    gain = np.sqrt(np.maximum(mean[donor], 1e-12) / np.maximum(mean[labels], 1e-12))
    changed = np.fft.irfft(spectra * np.clip(gain, 0.01, 100), n=sounds.shape[1])
    return changed / np.maximum(np.abs(changed).max(1, keepdims=True), 1e-12) * np.abs(sounds).max(1, keepdims=True)


def by_octave(predictor: Any, sounds: Sounds, labels: NDArray[Any], rate: int) -> tuple[Shares, Shares]:
    """The shares of the size of input x gradient, and of the power of the sounds, between EDGES."""
    import jax
    import jax.numpy as jnp

    from cnn_jax.batch import normalised

    @jax.jit
    def slope(x: jax.Array, label: jax.Array) -> jax.Array:
        def f(x: jax.Array) -> jax.Array:
            logits = predictor.model.apply(predictor.variables, normalised(x, predictor.spec.prepare), train=False)[0]
            return jnp.take_along_axis(logits, label[:, None], 1).sum()

        return jax.grad(f)(x)

    x = sounds[..., None].astype(np.float32)
    slopes = np.concatenate([slope(x[k : k + 16], labels[k : k + 16]) for k in range(0, len(x), 16)])[..., 0]
    first, second = np.fft.rfft(sounds), np.fft.rfft(slopes)
    each = np.abs((first.conj() * second).real)
    bands = np.digitize(np.fft.rfftfreq(sounds.shape[1], 1 / rate), EDGES[1:-1])
    shares = [
        np.array([values[:, bands == k].sum(1) for k in range(len(EDGES) - 1)]) for values in (each, np.abs(first) ** 2)
    ]
    a, b = ((part / np.maximum(part.sum(0), 1e-30)).mean(1) for part in shares)
    return a, b


if __name__ == "__main__":
    script.run(main)
