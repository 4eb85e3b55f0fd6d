"""One input that is explained: what of it the model is given, and how what was found is said, drawn and written."""

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.files import sound_of, text_in
from cnn_jax.data.inputs import Input
from cnn_jax.data.placement import Placement, as_vector
from cnn_jax.data.sound import SoundPrepare, starts
from cnn_jax.data.spec import Spec
from cnn_jax.data.spelling import Spelling, spelled_out
from cnn_jax.data.text import TextPrepare
from cnn_jax.explain.explanation import Explained, Explanation
from cnn_jax.explain.targets import class_number
from cnn_jax.paths import printable
from cnn_jax.report import attribution
from cnn_jax.report import words as coloured
from cnn_jax.report.tables import plain
from cnn_jax.train.predictor import Predictor, predict

LETTERS = 40  # of a text that the names of its files begin with, at most


class Given(NamedTuple):
    """inputs: {input: [1, ...]}. wanted: what is explained, None for the surest. seconds: of a sound its start and end.

    said: what has to be said of it, or "".
    """

    inputs: dict[str, np.ndarray]
    wanted: str | None
    seconds: tuple[float, float] | None = None
    said: str = ""


def given(predictor: Predictor, item: Input, wanted: str | None) -> Given:
    """An input as a batch of one.

    Of a sound that is longer than an example it is the window that is surest of the class: of the one that is wanted,
    or that the model says of the whole sound. Raises ValueError for a class that there is not.
    """
    spec, example = predictor.spec, item.example
    assert example is not None
    name = next(iter(spec.inputs))
    seconds, said = None, ""
    if isinstance(spec.prepare, SoundPrepare):
        place, rate, label = 0, spec.prepare.rate, 0
        begins = [0]
        if example.ndim > len(spec.input.shape):
            logits = predict(predictor, {name: example})["logits"].astype(np.float64)
            label = int(logits.mean(0).argmax()) if wanted is None else class_number(wanted, spec.classes)
            shares = logits[:, label] - np.logaddexp.reduce(logits, -1)
            place, begins = int(shares.argmax()), starts(len(sound_of(Path(item.path), spec.prepare)), spec.prepare)
            wanted, example = str(label), example[place]
        seconds = (begins[place] / rate, begins[place] / rate + spec.prepare.seconds)
        if len(begins) > 1:
            when = f"window {place + 1} of {len(begins)}, {seconds[0]:.2f} to {seconds[1]:.2f} s"
            said = f"{when}, the one that is surest of '{printable(spec.classes[label])}'"
    return Given(batch_of_one(spec, item._replace(example=example)), wanted, seconds, said)


def batch_of_one(spec: Spec, item: Input) -> dict[str, np.ndarray]:
    """An example {input: [1, ...]}, with where a picture lies in it if the model is told."""
    assert item.example is not None
    arrays = {next(iter(spec.inputs)): item.example[None]}
    for name, field in spec.inputs.items():
        if field.role == "placement":
            height, width = item.example.shape[:2]
            arrays[name] = as_vector(item.placement or Placement((height, width), (height, width)))[None]
    return arrays


def read(item: Input, spec: Spec) -> Spelling | None:
    """How a text is read; None of what is none."""
    if not isinstance(spec.prepare, TextPrepare) or item.example is None:
        return None
    text = item.path if isinstance(item.path, str) else text_in(item.path)
    return spelled_out(item.example, spec.prepare, text)


def named(text: str) -> str:
    """The name of the files of a text that is none itself: its first letters, and what tells it from others."""
    first = re.sub(r"\W+", "_", text, flags=re.ASCII)[:LETTERS].strip("_")
    return f"{first}.{zlib.crc32(text.encode('utf-8', 'surrogateescape')):08x}"


def lines(found: Explanation, spelled: Spelling | None, seconds: tuple[float, float] | None) -> list[str]:
    """What is said of each map, a line for each; of a text and of spectra a second one, what counted most."""
    width, said = max(map(len, found.maps)), list[str]()
    for name, one in found.maps.items():
        said.append(f"{name:{width}}  {'; '.join(one.lines)}")
        if most := _most(one, spelled, seconds if found.kind == "spectrum" else None):
            said.append(f"{'':{width}}  {most}")
    return said


def _most(one: Explained, spelled: Spelling | None, seconds: tuple[float, float] | None) -> str:
    if spelled is not None:
        return coloured.strongest(spelled.words, spelled.of_words(one.places), signed=one.signed)
    if seconds is None:
        return ""
    frame, band = np.unravel_index(one.places.argmax(), one.places.shape)
    frames, bands = one.places.shape
    when = seconds[0] + (seconds[1] - seconds[0]) * (frame + 0.5) / frames
    return f"most at {when:.2f} s, bin {band + 1} of {bands} from below"


def write(
    place: Path, item: Input, asked: Given, found: Explanation, spelled: Spelling | None, settings: Mapping[str, Any]
) -> str:
    """The figure, arrays and numbers of one input, place.png, .npz and .json; returns their names as a person reads."""
    picture = place.with_name(place.name + ".png")
    if spelled is not None:
        panels = [
            attribution.Panel(name, spelled.of_letters(one.places), one.signed, one.lines)
            for name, one in found.maps.items()
        ]
        title = f"{printable(item.path)[:60]}: {found.target}" if isinstance(item.path, Path) else found.target
        coloured.draw(spelled.letters, spelled.letters is spelled.words, title, panels, picture)
    else:
        panels = [attribution.Panel(name, one.places, one.signed, one.lines) for name, one in found.maps.items()]
        shown = found.x if asked.seconds is not None or item.example is None else item.example
        title = "; ".join(filter(None, (found.target, asked.said)))
        chosen: Mapping[str, Any] = found.chosen
        attribution.draw(shown, title, panels, picture, chosen.get("box"), chosen.get("region"), asked.seconds)
    maps: dict[str, Any] = {name: one.map for name, one in found.maps.items()}
    np.savez_compressed(place.with_name(place.name + ".npz"), input=found.x, **maps)
    numbers = {
        "file": printable(item.path), "target": found.target, "score": found.score, "reference": found.reference,
        "score_of_reference": found.of_reference, "layer": found.layer, **settings,
        "methods": {name: {**one.numbers, "said": one.lines} for name, one in found.maps.items()},
    }  # fmt: skip
    if asked.said:
        numbers["window"] = asked.said
    if spelled is not None:
        numbers["words"] = spelled.words
        for name, one in found.maps.items():
            numbers["methods"][name]["of_words"] = spelled.of_words(one.places).tolist()
    place.with_name(place.name + ".json").write_text(json.dumps(_finite(numbers), indent=1), encoding="utf-8")
    return printable(f"{place}.png, .npz and .json")


def _finite(value: Any) -> Any:
    return {name: _finite(inner) for name, inner in value.items()} if isinstance(value, dict) else plain(value)
