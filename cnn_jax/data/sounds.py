"""Splits of sounds: read on access by one reader, and looked at when they are opened."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cnn_jax.data.access import DecodedSource, Example, Read, threads
from cnn_jax.data.decoded import SAMPLE, decode_all
from cnn_jax.data.images import CorruptImage
from cnn_jax.data.sound import Samples, Sound, SoundPrepare, Traits, brought_to, fit_sound, said_of, traits_of
from cnn_jax.data.source import Splits, permutation
from cnn_jax.data.spec import Field, Spec
from cnn_jax.data.splits import checked, without_training

HELD = 2**28  # samples, at the rate that is wanted, that a source keeps once they were read: 1 GiB


class Sounds(NamedTuple):
    """The sounds of one split.

    load: index -> what a file holds, or CorruptSound. name: index -> what messages call it. label: [N] the class of
    each, or labels [N, K], 1 for each class that it is of.
    """

    load: Callable[[int], Sound]
    name: Callable[[int], str]
    label: np.ndarray


def sound_splits(
    sounds: Mapping[str, Sounds],
    prepare: SoundPrepare,
    *,
    name: str,
    classes: Sequence[str],
    licence: str,
    citation: str,
    fingerprint: str,
    corrupt: str = "skip",
    notes: Sequence[str] = (),
) -> Splits:
    """Splits of one "sound" float32 [L, 1] each, with a "label" or "labels"; "all" is a split, too.

    Up to SAMPLE sounds of each are read now: for damage, and for what is changed in reading them.
    Raises ValueError where none can be read, and for what `checked` refuses; one line.
    """
    if corrupt not in ("skip", "error"):
        raise ValueError(f"corrupt must be 'skip' or 'error', not {corrupt!r}")
    if empty := [split for split, part in sounds.items() if not len(part.label)]:
        raise ValueError(f"{name}: the {empty[0]} split has no examples")
    many = next(iter(sounds.values())).label.ndim == 2
    target = {"labels": Field("labels", (len(classes),), "uint8")} if many else {"label": Field("label", (), "int32")}
    spec = Spec(
        name=name,
        classes=tuple(classes),
        inputs={"sound": Field("signal", (prepare.length, 1), "float32")},
        targets=target,
        prepare=prepare,
        licence=licence,
        citation=citation,
        fingerprint=fingerprint,
        unit="sounds",
    )
    checked(spec)
    traits: dict[str, Traits] = {}
    splits = {
        split: DecodedSource(
            _reader(part, prepare, next(iter(target)), traits),
            len(part.label),
            spec,
            corrupt,
            None if many else part.label,
            part.name,
            _known(part, next(iter(target))),
        )
        for split, part in sounds.items()
    }
    for source in splits.values():  # those of which more is read than is kept are looked at before that
        some = permutation(source.size, 0)[:SAMPLE].tolist()
        list(threads().map(lambda index, read=source.read: _tried(read, index), some))
    looked = decode_all(splits, next(iter(splits)))
    reasons = [reason for source in splits.values() for reason in (*source.lost, *source.skipped.values())]
    taken = "a random part of each in training, the beginning else" if prepare.random else "the beginning of each"
    absent = without_training({split: part.label for split, part in sounds.items()}, classes)
    found = [*notes, *absent, *said_of(traits, prepare, f", of which {taken} is taken (seconds, random)")]
    if reasons:
        what = f"{len(reasons)} of {looked} sounds looked at cannot be decoded and are left out, as {reasons[0]}"
        found.append(f"{what}; corrupt='error' in the source stops instead")
    spec = replace(spec, notes=tuple(f"{name}: {note}" for note in found))
    for source in splits.values():
        source.spec, source.told = spec, bool(reasons)
    return dict(splits)


def _tried(read: Read, index: int) -> None:
    try:
        read(index, None)
    except CorruptImage:
        pass  # decode_all says so


def _known(part: Sounds, target: str) -> Callable[[int], Example]:
    return lambda index: {target: part.label[index]}


def _reader(part: Sounds, prepare: SoundPrepare, target: str, traits: dict[str, Traits]) -> Read:
    kept, size = dict[int, Samples](), 0

    def samples(index: int) -> Samples:
        nonlocal size
        if index in kept:
            return kept[index]
        stored = part.load(index)
        found = brought_to(stored, prepare.rate)
        traits[part.name(index)] = traits_of(stored)
        if size + len(found) <= HELD:
            kept[index] = found
            size += len(found)
        return found

    def read(index: int, key: int | None) -> Example:
        try:
            found = samples(index)
        except CorruptImage as error:
            raise CorruptImage(f"{part.name(index)}: {error}") from error
        return {"sound": fit_sound(found, prepare, key), target: part.label[index]}

    return read
