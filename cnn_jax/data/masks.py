"""masks(path=PATH), in short masks:PATH: pictures with a mask each, a picture that says the class of every pixel.

PATH has the folders images and masks, with files of the same names but for the ending: images/a.jpg, masks/a.png. With
splits it is PATH/train/images and PATH/train/masks, or PATH/images/train and PATH/masks/train, and the same of test and
validation (also called training, testing, valid, val, dev). Files may lie in folders below.

A mask is read by its numbers: those of a palette, or the values of grey of up to 16 bits; 255 is for pixels that do not
count. Where 0 and 255 are all there are, 255 is the foreground. PATH/classes.txt or classes.csv names the classes, a
line each, in the order of the numbers from 0 on. Where lines have a colour too, as `sky 0 128 255`, masks are read by
their colours; a line `ignored 0 0 0` says which does not count. Background is a class like the others, called
"background".
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.access import Example, threads
from cnn_jax.data.annotated import CHOICES, Tally, as_stored
from cnn_jax.data.decoded import Beside, Files, decoded_splits
from cnn_jax.data.images import SIDEWAYS, TURNS, CorruptImage, outline
from cnn_jax.data.mask_classes import CLASS_FILES, WHITE, Found, Meaning, meaning, named
from cnn_jax.data.mask_files import SAID, Mask, count, read_mask
from cnn_jax.data.objects import own_sizes, rarest
from cnn_jax.data.pairs import Pair, pairs_in
from cnn_jax.data.placement import Placement, as_vector, map_to_example
from cnn_jax.data.prepare import MULTIPLE, ImagePrepare, Resize, Sizes, nominal, prepared
from cnn_jax.data.resizing import as_picture
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import IGNORED, Field
from cnn_jax.data.splits import copies, digest_files
from cnn_jax.paths import printable, written

GREY = 127  # of what is added beside pictures: neither dark nor bright
SIDE = 512  # pictures that differ in size are brought to that of the usual one, but to no more pixels than SIDE x SIDE
OF_PAIRS = {"missing": ("error", "skip"), "unknown": ("error", "ignore"), "wrong_size": ("error", "scale", "skip")}


class Look(NamedTuple):
    """What is known of a pair without decoding its picture.

    size: [H, W] of the upright picture; turn: its EXIF orientation; mask: [H, W] of its mask; label: that one's name;
    counts: {value: pixels}; words: of mask_files.SAID.
    """

    size: tuple[int, int]
    turn: int
    mask: tuple[int, ...]
    label: str
    counts: Mapping[int, int]
    words: frozenset[str]


class Part(NamedTuple):
    """n pairs of one split that can be read.

    looks: [n]. stored: [n] whether a mask is to be turned as EXIF turns its picture. pixels: [n, classes + 1] of the
    pictures, of each class and of none. lost: why others are not among them.
    """

    pairs: Sequence[Pair]
    looks: Sequence[Look]
    stored: NDArray[np.bool_]
    pixels: NDArray[np.int64]
    lost: Sequence[str]


def masks(
    path: str,
    *,
    folders: tuple[str, str] = ("images", "masks"),
    suffix: str = "",
    classes: Sequence[str] = (),
    colours: Sequence[tuple[int, int, int]] = (),
    class_ids: Sequence[int] = (),
    ignore: int | None = None,
    threshold: int | None = None,
    size: Sizes | None = None,
    resize: Resize = "letterbox",
    interpolation: str = "bilinear",
    channels: int = 3,
    white: int | None = None,
    percentiles: tuple[float, float] | tuple[()] = (),
    missing: str = "error",
    unknown: str = "error",
    wrong_size: str = "error",
    turned: str = "guess",
    corrupt: str = "skip",
) -> Splits:
    """The splits "train", "validation" and "test" that there are, or "all" where there are none.

    Images are uint8 [H, W, channels], "class_map" uint8 [H, W], IGNORED where a pixel does not count or is no part of
    the picture, and "placement" says where the picture lies.

    Args:
      path: of the folder.
      folders: what those of pictures and of masks are called.
      suffix: what names of masks have after those of their pictures, as "_mask".
      classes: names, where no file has them; without any, classes are called after their numbers.
      colours: red, green and blue of each class, where no file has them.
      class_ids: the numbers that masks have for the classes, where these are not 0, 1, 2, ...
      ignore: the number of pixels that do not count, -1 for none; None: 255, but where 0 is all there is beside it.
      threshold: masks are of two classes, the second from this value of grey on.
      size: a side, or height and width, or several heights and widths: each picture is then brought to the one that it
        fills best, and batches are of one size each. None: that of the pictures, where it is one, else about that of
        the usual one, with at most SIDE x SIDE pixels; for "pad" that of the largest.
      resize: "letterbox" or "stretch"; or "pad", which scales no picture. Masks are resized by the nearest pixel.
      interpolation, channels, white, percentiles: see `ImagePrepare`.
      missing: "error" stops at a picture without a mask, or a mask without a picture, "skip" leaves it out.
      unknown: "error" stops where a value or colour is of no class, "ignore" counts its pixels as IGNORED.
      wrong_size: where a mask has another size than its picture, "error" stops, "scale" brings the mask to the size of
        the picture, "skip" leaves both out.
      turned: what a mask shows of a picture that EXIF turns, where sizes do not tell: the picture as it is seen
        ("upright"), as it is stored ("stored"), or what most of those show that do tell ("guess").
      corrupt: "skip" leaves pairs out of which a file cannot be decoded, "error" stops at the first.

    Raises:
      ValueError: what is missing, unknown or of another size, a file of classes that is none, values that nothing
        explains, no pairs, settings that do not fit together; one line.
    """
    name, root = f"masks:{printable(path)}", written(path)
    _check_choices(missing=missing, unknown=unknown, wrong_size=wrong_size, turned=turned, corrupt=corrupt)
    tally = Tally()
    try:
        splits = pairs_in(root, folders, suffix, missing, tally)
        names = named(root, classes, colours)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    read = partial(_mask, by_colour=bool(names.colours), ignored=WHITE if ignore is None else ignore)
    try:
        looked = {split: _looked(pairs, read, corrupt) for split, pairs in splits.items()}
        for split, (found, lost) in looked.items():
            if not found:
                raise ValueError(f"not one picture of the {split} split can be read, as {lost[0]}")
        looks = [look for found, _ in looked.values() for look in found.values()]
        _say_words(looks, tally)
        meant = meaning(_values(looks), names, class_ids=class_ids, ignore=ignore, threshold=threshold, unknown=unknown)
        parts = {
            split: _settled(found, lost, meant, turned, wrong_size, tally) for split, (found, lost) in looked.items()
        }
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    for split, part in parts.items():
        if not part.pairs:
            raise ValueError(f"{name}: nothing is left of the {split} split: {(*part.lost, *tally.lines())[0]}")
    sizes = [look.size for part in parts.values() for look in part.looks]
    prepare = prepared(
        size or _size_of(sizes, resize, tally),
        resize=resize,
        interpolation=interpolation,
        channels=channels,
        white=white,
        percentiles=percentiles,
        background=GREY,
    )
    if prepare.size is None or prepare.resize not in ("letterbox", "stretch", "pad"):
        raise ValueError(f"{name}: resize={resize!r} is not for masks: choose 'letterbox', 'stretch' or 'pad'")
    if large := [size for size in sizes if prepare.size_for(size) not in prepare.all_sizes]:
        raise ValueError(f"{name}: a picture is {large[0]}, more than size={size}: 'pad' needs one that holds all")
    first = parts.get("train") or next(iter(parts.values()))
    absent = [known for known, seen in zip(meant.classes, first.pixels.sum(0), strict=False) if not seen]
    if absent:
        tally.add(len(absent), f"of {len(meant.classes)} classes have no pixel to learn from", f"'{absent[0]}'")
    files = [file for part in parts.values() for pair in part.pairs for file in (pair.image, pair.mask)]
    known = [root / name for name in CLASS_FILES if (root / name).is_file()]
    fingerprint, contents = digest_files(root, [*known, *files])
    shown = ((split, pair.image) for split, part in parts.items() for pair in part.pairs)
    return decoded_splits(
        {split: _files(part, meant, first, prepare, read) for split, part in parts.items()},
        prepare,
        name=name,
        classes=meant.classes,
        licence="unknown (user data)",
        citation="",
        fingerprint=fingerprint,
        corrupt=corrupt,
        notes=(*meant.notes, *tally.lines(), *copies(root, shown, contents, "split")),
        beside=Beside(
            {"placement": Field("placement", (6,), "float32")},
            {"class_map": Field("class_map", prepare.size, "uint8")},
            lambda read, placement: read(placement),
        ),
        class_ids=meant.class_ids,
    )


def _check_choices(**given: str) -> None:
    for name, value in given.items():
        known = {**CHOICES, **OF_PAIRS}[name]
        if value not in known:
            raise ValueError(f"{name} must be {' or '.join(map(repr, known))}, not {value!r}")


def _looked(pairs: Sequence[Pair], read: Callable[[Pair], Mask], corrupt: str) -> tuple[dict[Pair, Look], list[str]]:
    """What is known of the pairs that can be read, and why others cannot. Raises ValueError unless that is skipped."""
    found = dict(zip(pairs, threads().map(partial(_look, read), pairs), strict=True))
    lost = [seen for seen in found.values() if isinstance(seen, str)]
    if lost and corrupt == "error":
        raise ValueError(f"{lost[0]}: corrupt='skip' in the source leaves such pictures out")
    return {pair: seen for pair, seen in found.items() if isinstance(seen, Look)}, lost


def _look(read: Callable[[Pair], Mask], pair: Pair) -> Look | str:
    try:
        head = outline(pair.image)
    except CorruptImage as error:
        return f"{pair.name}: {error}"
    try:
        mask = read(pair)
    except CorruptImage as error:
        return str(error)
    return Look((head.height, head.width), head.turn, mask.values.shape, pair.label, count(mask.values), mask.words)


def _mask(pair: Pair, by_colour: bool, ignored: int) -> Mask:
    try:
        return read_mask(pair.mask.read_bytes(), by_colour=by_colour, ignored=ignored)
    except OSError as error:
        raise CorruptImage(f"{pair.label}: cannot read the mask ({error.strerror})") from error
    except CorruptImage as error:
        raise CorruptImage(f"{pair.label}: {error}") from error


def _say_words(looks: Sequence[Look], tally: Tally) -> None:
    for word, what in SAID.items():
        if having := [look for look in looks if word in look.words]:
            tally.add(len(having), what, having[0].label)


def _values(looks: Sequence[Look]) -> dict[int, Found]:
    """What there is in all masks."""
    found = dict[int, Found]()
    for look in looks:
        for value, pixels in look.counts.items():
            before = found.get(value, Found(0, look.label))
            found[value] = before._replace(pixels=before.pixels + pixels)
    return found


def _settled(
    looked: Mapping[Pair, Look], lost: Sequence[str], meant: Meaning, turned: str, wrong_size: str, tally: Tally
) -> Part:
    """The pairs whose masks fit and say something. Raises ValueError for masks of another size, unless that may be."""
    pairs, looks = list(looked), list(looked.values())
    sizes, said = (np.array([getattr(look, key) for look in looks], int).reshape(-1, 2) for key in ("size", "mask"))
    turns, every = np.array([look.turn for look in looks], int), np.ones(len(looks), bool)
    stored = as_stored([pair.name for pair in pairs], said, sizes, turns, every, turned, "masks", tally)
    expected = np.where((stored & np.isin(turns, SIDEWAYS))[:, None], sizes[:, ::-1], sizes)
    wrong = (said != expected).any(1)
    if wrong.any():
        first = int(wrong.argmax())
        (height, width), (tall, wide) = said[first].tolist(), expected[first].tolist()
        what = f"{pairs[first].label} has {width} x {height} pixels, its picture {wide} x {tall}"
        if wrong_size == "error":
            more = f" ({wrong.sum():,} such masks)" if wrong.sum() > 1 else ""
            how = "wrong_size='scale' in the source brings such masks to it, 'skip' leaves them out"
            raise ValueError(f"{what}{more}: {how}")
        how = "brought to it" if wrong_size == "scale" else "left out"
        tally.add(int(wrong.sum()), f"masks have another size than their picture and are {how}", what)
    pixels = np.array([meant.counts(look.counts) for look in looks]).reshape(len(looks), -1)
    empty = pixels[:, :-1].sum(1) == 0
    if empty.any():
        what = "pictures have no pixel that counts in their mask and are left out"
        tally.add(int(empty.sum()), what, pairs[int(empty.argmax())].label)
    kept = np.flatnonzero(~empty & ~(wrong & (wrong_size == "skip")))
    return Part([pairs[i] for i in kept], [looks[i] for i in kept], stored[kept], pixels[kept], lost)


def _size_of(sizes: Sequence[tuple[int, int]], resize: str, tally: Tally) -> tuple[int, int]:
    """That of the pictures, or one for all of them."""
    if len({*sizes}) == 1:
        return sizes[0]
    if resize == "pad":
        height, width = (-(-max(sides) // MULTIPLE) * MULTIPLE for sides in zip(*sizes, strict=True))
    else:
        tall, wide = (median(sides) for sides in zip(*sizes, strict=True))
        share = min(1.0, SIDE / (tall * wide) ** 0.5)
        height, width = (max(round(side * share / MULTIPLE), 1) * MULTIPLE for side in (tall, wide))
    least, most = min(sizes, key=lambda size: size[0] * size[1]), max(sizes, key=lambda size: size[0] * size[1])
    what = f"pictures differ in size and are brought to {height} x {width} by '{resize}'"
    example = f"{least[0]} x {least[1]} and {most[0]} x {most[1]}"
    tally.add(len(sizes), what, example, "size= and resize= in the source change it")
    return height, width


def _files(part: Part, meant: Meaning, first: Part, prepare: ImagePrepare, read: Callable[[Pair], Mask]) -> Files:
    def fields(index: int, placement: Placement) -> Example:
        pair, look = part.pairs[index], part.looks[index]
        classes = meant.classed(read(pair).values)
        if classes.shape != look.mask:
            raise ValueError("a mask of another size than when it was looked at")
        if part.stored[index]:
            classes = np.asarray(as_picture(classes[..., None]).transpose(TURNS[look.turn]))
        return {"placement": as_vector(placement), "class_map": map_to_example(classes, placement, IGNORED)}

    def load(index: int) -> tuple[bytes, Callable[[Placement], Example]]:
        try:
            return part.pairs[index].image.read_bytes(), partial(fields, index)
        except OSError as error:  # it is gone by now, or may not be read
            raise CorruptImage(f"cannot read the image ({error.strerror})") from error

    seen = part.pixels[:, :-1] > 0
    sizes = [look.size for look in part.looks]
    return Files(
        load=load,
        name=lambda index: part.pairs[index].name,
        size=len(part.pairs),
        groups=rarest(len(seen), (first.pixels[:, :-1] > 0).sum(0), *np.nonzero(seen)),
        known=lambda index: fields(index, nominal(sizes[index], prepare)),
        lost=part.lost,
        sizes=own_sizes(sizes, prepare),
    )
