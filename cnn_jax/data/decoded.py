"""Splits of encoded pictures: read on access by one reader, and looked at when they are opened."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.access import DecodedSource, Example, Groups, Read, threads
from cnn_jax.data.images import DEEP, CorruptImage, Traits, full_bits, traits
from cnn_jax.data.placement import Placement
from cnn_jax.data.prepare import SAMPLED, ImagePrepare, fit
from cnn_jax.data.reading import full_for_boxes, pixels_of, read_image
from cnn_jax.data.source import Splits, permutation, test_part
from cnn_jax.data.spec import VALID, Field, Spec, example_bytes
from cnn_jax.data.splits import checked, described

SAMPLE = 2000  # pictures of each split that are looked at; over those of train the channel statistics are taken
BESIDE = 200  # of other splits than train, where they are larger than SAMPLE
HELD = 2**28  # bytes of examples that are kept where all of a split was looked at
PICTURES = 2**31  # bytes of decoded pictures that a training keeps, of which it wants another random box at each visit

# What is said of pictures with a trait, and of which channels it is true.
SAID = {
    "grey": ((3, 4), "are grey and read as colour: channels=1 reads all as grey"),
    "transparent": ((1, 3), "have an alpha channel and are laid over white: channels=4 keeps it"),
    "cmyk": ((1, 3, 4), "are of another colour space, as CMYK, and turned to RGB without their profile"),
    "deep colour": (
        (1, 3, 4),
        "have 16 bits for each of several channels, of which the upper 8 are read: store 8 where values do not fill 16",
    ),
    "animated": ((1, 3, 4), "hold several pictures, of which the first is read"),
}


class Files(NamedTuple):
    """The encoded pictures of one split.

    load: index -> bytes and what is known of the picture, or CorruptImage where they cannot be had. name: index -> what
    messages call it. groups, known, sizes: as in DecodedSource. lost: why pictures are not among them.
    """

    load: Callable[[int], tuple[bytes, Any]]
    name: Callable[[int], str]
    size: int
    groups: Groups
    known: Callable[[int], Example] | None = None
    lost: Sequence[str] = ()
    sizes: np.ndarray | None = None


class Beside(NamedTuple):
    """The fields that examples have beside their image.

    read: what `Files.load` gives beside the bytes, and where the picture lies in the example -> the arrays of these
    fields. A ValueError of it goes on "the file has".
    """

    inputs: Mapping[str, Field]
    targets: Mapping[str, Field]
    read: Callable[[Any, Placement], Example]


def one_label(classes: int) -> Beside:
    """A number of a class for each picture, -1 where it is not known."""

    def read(label: int, placement: Placement) -> Example:
        if not -1 <= label < classes:
            raise ValueError(f"the label {label}, there are {classes} classes")
        return {"label": np.asarray(label, np.int32)}

    return Beside({}, {"label": Field("label", (), "int32")}, read)


def decoded_splits(
    files: Mapping[str, Files],
    prepare: ImagePrepare,
    *,
    name: str,
    classes: Sequence[str],
    licence: str,
    citation: str,
    fingerprint: str,
    corrupt: str,
    notes: Sequence[str] = (),
    beside: Beside | None = None,
    class_ids: Sequence[int] = (),
) -> Splits:
    """Splits decoded on access, of one "image" each and what there is beside it, a label by default; "all" is one too.

    Up to SAMPLE pictures of each are looked at now: for what is lost in reading them, for the value that is white in
    16-bit grey, for damage, and, those of train, for the channel statistics.

    Raises:
      ValueError: no picture can be decoded, sizes differ while none is asked for, or what `checked` refuses; one line.
    """
    if corrupt not in ("skip", "error"):
        raise ValueError(f"corrupt must be 'skip' or 'error', not {corrupt!r}")
    if prepare.resize == "short_side" and any(part.sizes is None for part in files.values()):
        raise ValueError(f"{name}: resize='short_side' gives each picture a size of its own: choose 'letterbox'")
    if empty := [split for split, part in files.items() if not part.size]:
        raise ValueError(f"{name}: the {empty[0]} split has no examples")
    beside = beside or one_label(len(classes))
    # Without a train split, which only a source to be scored may lack, the first one stands for it.
    first = "train" if "train" in files else next(iter(files))
    prepare, lost = _looked_at(files[first], np.sort(permutation(files[first].size, 0)[:SAMPLE]), prepare)
    channels = prepare.channels or 3
    # Where there are several sizes, the first stands for all: a model is initialised with it.
    shape = (*prepare.largest, channels) if prepare.size else _first_shape(name, files[first], prepare)
    image = Field("image", shape, "uint8")
    if prepare.interpolation == SAMPLED:
        image = Field("image", shape, "float32", (0.0, 1.0))
    spec = Spec(
        name=name,
        classes=tuple(classes),
        inputs={"image": image, **beside.inputs},
        targets=beside.targets,
        prepare=prepare,
        licence=licence,
        citation=citation,
        fingerprint=fingerprint,
        class_ids=tuple(class_ids),
        notes=tuple(f"{name}: {note}" for note in (*notes, *lost)),
    )
    checked(spec)
    splits = {
        split: DecodedSource(
            _reader(part, name, prepare, beside),
            part.size,
            spec,
            corrupt,
            part.groups,
            part.name,
            part.known,
            list(part.lost),
            part.sizes,
        )
        for split, part in files.items()
    }
    looked = decode_all(splits, first)
    train = np.arange(len(splits[first]))
    if first == "all":  # of which the training sees but a part
        train = test_part(splits["all"])[0]
    spec = described(spec, _examples(splits[first], train[permutation(len(train), 0)[:SAMPLE]]))
    reasons = _reasons(splits)
    if reasons:
        what = f"{len(reasons)} of {looked} images looked at cannot be decoded and are left out, as {reasons[0]}"
        spec = replace(spec, notes=(*spec.notes, f"{name}: {what}; corrupt='error' in the source stops instead"))
    for source in splits.values():
        source.spec, source.told = spec, bool(reasons)
    return dict(splits)


def decode_all(splits: dict[str, DecodedSource], first: str) -> int:
    """Decodes every split, or a sample where one is large (that of the first comes with the statistics).

    A split of which all was decoded is kept, without what cannot be: so nothing of that is carved out, or counted.
    Returns the number of examples. Raises ValueError where none of a split can be decoded.
    """
    looked = 0
    for split, source in splits.items():
        size = source.size
        looked += len(source.lost)
        if size <= SAMPLE and size * example_bytes(source.spec) <= HELD:
            if source.sizes is None:
                source.held = source.examples(np.arange(size))
            else:
                for _ in _examples(source, np.arange(size)):
                    pass
            if len(source.skipped) == size:
                raise ValueError(_none(source, size))
            if source.skipped:
                splits[split] = source.without_skipped()
        else:
            size = min(size, SAMPLE if split == first else BESIDE)
            for _ in _examples(source, permutation(source.size, 0)[:size]) if split != first else ():
                pass
        looked += size
    return looked


def _none(source: DecodedSource, size: int) -> str:
    reason = next(iter(source.skipped.values()))
    return f"{source.spec.name}: not one of {size} {source.spec.units} can be decoded, as {reason}"


def _reasons(splits: Mapping[str, DecodedSource]) -> list[str]:
    return [reason for source in splits.values() for reason in (*source.lost, *source.skipped.values())]


def _reader(files: Files, name: str, prepare: ImagePrepare, beside: Beside) -> Read:
    kept, size = dict[int, tuple[np.ndarray, Any]](), 0

    def picture(index: int, key: int | None) -> tuple[np.ndarray, tuple[int, int], Any]:
        """The picture or a smaller copy of it, its full size, and what is known of it."""
        nonlocal size
        if key is not None and index in kept:
            pixels, known = kept[index]
            return pixels, pixels.shape[:2], known
        data, known = files.load(index)
        pixels, full = pixels_of(data, prepare, key)
        again = key is not None and bool(prepare.random_area) and full_for_boxes(full, prepare)
        if again and size + pixels.nbytes <= PICTURES:
            kept[index] = pixels, known
            size += pixels.nbytes
        return pixels, full, known

    def read(index: int, key: int | None) -> Example:
        try:
            pixels, full, known = picture(index, key)
            image, placement = fit(pixels, prepare, key, full)
        except CorruptImage as error:
            raise CorruptImage(f"{files.name(index)}: {error}") from error
        try:
            return {"image": image, **beside.read(known, placement)}
        except CorruptImage as error:  # a file beside it
            raise CorruptImage(f"{files.name(index)}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{name}: {files.name(index)} has {error}") from None

    return read


def _first_shape(name: str, files: Files, prepare: ImagePrepare) -> tuple[int, ...]:
    for index in range(files.size):
        try:
            return read_image(files.load(index)[0], prepare)[0].shape
        except CorruptImage as error:
            reason = f"{files.name(index)}: {error}"
    raise ValueError(f"{name}: not one of {files.size} images can be decoded, as {reason}")


def _examples(source: DecodedSource, sample: np.ndarray) -> Iterator[np.ndarray]:
    """The images of a sample that can be decoded, in the order of the split and parts of at most HELD / 4 bytes.

    Raises ValueError where there are none.
    """
    count, good, sample = max(HELD // 4 // example_bytes(source.spec), 1), 0, np.sort(sample)
    kinds = source.buckets()
    alike = [sample] if kinds is None else [sample[kinds[sample] == kind] for kind in np.unique(kinds)]
    for part in (one[start : start + count] for one in alike for start in range(0, len(one), count)):
        batch = source.examples(part)
        good += int(batch[VALID].sum())
        yield batch["image"][batch[VALID] > 0]
    if len(sample) and not good:
        raise ValueError(_none(source, len(sample)))


def _looked_at(files: Files, sample: np.ndarray, prepare: ImagePrepare) -> tuple[ImagePrepare, list[str]]:
    """`prepare` with the value that is white, and what is lost in reading pictures like those of a sample."""

    def look(index: int) -> Traits:
        try:
            return traits(files.load(index)[0])
        except CorruptImage:
            return Traits(frozenset())

    found = dict(zip(map(files.name, sample), threads().map(look, sample.tolist()), strict=True))
    deep = {name: seen.greatest for name, seen in found.items() if seen.greatest}
    notes = list(_lost(found, prepare))
    if deep and prepare.white is None and not prepare.percentiles:
        greatest = max(deep.values())
        prepare = replace(prepare, white=full_bits(greatest))
        if prepare.white != DEEP:
            what = f"{len(deep)} of {len(found)} images looked at have 16 bits and do not say which value is white"
            taken = f"taken to be {prepare.white}, as the greatest is {greatest}: white=65535 in the source changes it"
            notes.append(f"{what}, as {next(iter(deep))}; {taken}")
    return prepare, notes


def _lost(found: Mapping[str, Traits], prepare: ImagePrepare) -> Iterator[str]:
    counts, first = Counter[str](), dict[str, str]()
    for name, seen in found.items():
        for word in seen.words:
            counts[word] += 1
            first.setdefault(word, name)
    for word, (channels, text) in SAID.items():
        if counts[word] and (prepare.channels or 3) in channels:
            yield f"{counts[word]} of {len(found)} images looked at {text}, as {first[word]}"
