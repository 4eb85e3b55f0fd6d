"""A plan for segmentation from what a set holds, as nnU-Net makes one (Isensee et al. 2021, doi:10.1038/
s41592-020-01008-z): a fingerprint, and what follows from it by rules. Nothing is tried or measured."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cnn_jax.data.access import DecodedSource, Example, threads
from cnn_jax.data.batches import evaluation_batches
from cnn_jax.data.placement import placed
from cnn_jax.data.source import Source, View, origin, permutation
from cnn_jax.data.spec import IGNORED, VALID, Spec, named

LOOKED_AT = 200  # pictures whose values are looked at; the classes are counted in all maps
BACKGROUND = "background"  # every other class is foreground
BYTES = 2**29  # that the maps of a batch may take in training
FLOAT, MAPS = 4, 30  # bytes of a number; maps as wide as the first level that a U-Net keeps at full size, see `plan`
EDGE = 4  # pixels of the shorter side of the deepest map at least
WIDEST = 512  # channels at most
LEAST, MOST = 4, 32  # examples of a batch; nnU-Net has 2 at least, which are few for BatchNorm
SHARE = 0.05  # of the pixels of all pictures that a batch shows, at most
FOREGROUND = 1 / 3  # of the crops are around a pixel of the foreground
RARE = 0.5  # share of the pixels, below which foreground is looked for
WHOLE = 4  # times as many pixels as a crop, with which a picture is predicted at once
AT_ONCE = 16  # examples that are read at once
UNEQUAL = 0.5  # by how much the brightness of pictures may vary, in standard deviations of their pixels


class Fingerprint(NamedTuple):
    """What a split holds.

    examples: how many. size: median [H, W] of what pictures take up of their examples, in pixels. channels: of the
    images. classes: names. pixels, images: of each class, how many show it. ignored: share of the pixels within
    pictures that do not count. mean, std: of the values of images, in [0, 1]; brightness: standard deviation of the
    means of pictures.
    """

    examples: int
    size: tuple[int, int]
    channels: int
    classes: tuple[str, ...]
    pixels: tuple[int, ...]
    images: tuple[int, ...]
    ignored: float
    mean: float
    std: float
    brightness: float

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the pixels that count, of each class."""
        return tuple(pixels / max(sum(self.pixels), 1) for pixels in self.pixels)

    @property
    def foreground(self) -> float:
        """Share of the pixels that count of all classes but the one called background."""
        return sum(share for share, name in zip(self.shares, self.classes, strict=True) if name != BACKGROUND)


class Plan(NamedTuple):
    """crop: [H, W] that training sees. levels: of a U-Net with `features` channels on the first. batch_size: of crops.
    foreground: the share of them around a pixel of the foreground. percentiles: see `ImagePrepare`, () for none. whole:
    whether pictures are predicted as a whole, not by windows of the size of a crop."""

    crop: tuple[int, int]
    levels: int
    features: int
    batch_size: int
    foreground: float
    percentiles: tuple[float, ...]
    whole: bool


def fingerprint(source: Source) -> Fingerprint:
    """That of the pictures of a split and their class_map. Raises ValueError where there is none."""
    spec = source.spec
    image, target = named(spec.inputs, "image"), named(spec.targets, "class_map")
    pixels, images = (np.zeros(len(spec.classes), np.int64) for _ in range(2))
    inside, sizes = 0, list[tuple[int, int]]()
    for example in _maps(source):
        counts = np.bincount(example[target].ravel(), minlength=IGNORED + 1)[: len(spec.classes)]
        pixels += counts
        images += counts > 0
        down, across = _shown(spec, example, example[target].shape)
        sizes.append((down.stop - down.start, across.stop - across.start))
        inside += math.prod(sizes[-1])
    height, width = np.median(sizes, 0).round().astype(int).tolist()
    mean, square, means = 0.0, 0.0, list[float]()
    looked = View(source, np.sort(permutation(len(source), 0)[:LOOKED_AT]))
    for example in _examples(looked):
        values = example[image][_shown(spec, example, example[image].shape)].astype(np.float64)
        values = values / 255 if example[image].dtype == np.uint8 else values
        means.append(float(values.mean()))
        square += float((values**2).mean())
    mean = float(np.mean(means))
    return Fingerprint(
        examples=len(sizes),
        size=(height, width),
        channels=spec.input.shape[-1],
        classes=spec.classes,
        pixels=tuple(pixels.tolist()),
        images=tuple(images.tolist()),
        ignored=1 - int(pixels.sum()) / max(inside, 1),
        mean=mean,
        std=math.sqrt(max(square / len(means) - mean**2, 0.0)),
        brightness=float(np.std(means)),
    )


def plan(found: Fingerprint, *, features: int = 16, memory: int = BYTES) -> Plan:
    """What suits a set with that fingerprint.

    crop: of the median size of the pictures. While LEAST of such crops do not fit into `memory`, the longer side is
      cut by a twentieth. A side that was cut is then rounded down to a multiple of 2^(levels - 1).
    levels: while both sides of the deepest map would have at least EDGE pixels after another halving, and that would
      have at most WIDEST channels.
    batch_size: as many crops as fit into `memory`, but no more than show SHARE of all pixels; LEAST to MOST.
      A crop [h, w] takes h w x `features` x FLOAT x MAPS bytes. Each level of a U-Net keeps some 15 maps, of twice the
      channels and a quarter of the pixels of the level above, so that all keep less than MAPS = 30 of the first.
    foreground: FOREGROUND of the crops where less than RARE of the pixels are foreground and a crop shows less than a
      picture, else none.
    percentiles: 0.5 and 99.5, where the brightness of grey pictures varies by more than UNEQUAL of the standard
      deviation of their pixels, as under microscopes: then it says little. Else values stay as they are.
    """
    each = features * FLOAT * MAPS
    height, width = found.size
    while LEAST * height * width * each > memory and max(height, width) > 2 * EDGE:
        if height >= width:
            height = height * 19 // 20
        else:
            width = width * 19 // 20
    levels, side = 1, min(height, width)
    while side // 2**levels >= EDGE and features * 2**levels <= WIDEST:
        levels += 1
    step = 2 ** (levels - 1)
    height, width = (
        side if side == whole else max(side // step, 1) * step
        for side, whole in zip((height, width), found.size, strict=True)
    )
    shown = found.examples * math.prod(found.size) * SHARE / (height * width)
    batch = max(min(memory // (height * width * each), int(shown), MOST), LEAST)
    smaller = height * width < 0.9 * math.prod(found.size)
    varies = found.channels == 1 and found.brightness > UNEQUAL * found.std
    return Plan(
        crop=(height, width),
        levels=levels,
        features=features,
        batch_size=batch,
        foreground=FOREGROUND if smaller and found.foreground < RARE else 0.0,
        percentiles=(0.5, 99.5) if varies else (),
        whole=math.prod(found.size) <= WHOLE * height * width,
    )


def _maps(source: Source) -> Iterator[Example]:
    """All examples, without their image where the rest is known without reading it."""
    base, places = origin(source)
    if isinstance(base, DecodedSource) and base.known and base.held is None:
        for start in range(0, len(places), AT_ONCE):
            yield from threads().map(base.known, places[start : start + AT_ONCE].tolist())
    else:
        yield from _examples(source)


def _examples(source: Source) -> Iterator[Example]:
    for batch in evaluation_batches(source, AT_ONCE):
        for row in np.flatnonzero(batch[VALID] > 0):
            yield {name: array[row] for name, array in batch.items()}


def _shown(spec: Spec, example: Example, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of an example that its picture takes up."""
    names = [name for name, field in spec.inputs.items() if field.role == "placement"]
    if not names:
        return slice(0, shape[0]), slice(0, shape[1])
    where = placed(example[names[0]], (shape[0], shape[1]))
    begin = [max(round(offset), 0) for offset in where.offset]
    ends = [round(o + s * n) for o, s, n in zip(where.offset, where.scale, where.original, strict=True)]
    down, across = (slice(b, min(max(e, b + 1), n)) for b, e, n in zip(begin, ends, shape, strict=False))
    return down, across


def reasons(made: Plan, found: Fingerprint) -> dict[str, str]:
    """{what is chosen: the choice and why}, in words."""
    (tall, wide), (height, width) = made.crop, found.size
    of = f"pictures have {height} x {width} pixels (median)"
    smallest = tuple(length // 2 ** (made.levels - 1) for length in made.crop)
    grey = f"the means of pictures vary by {found.brightness / max(found.std, 1e-9):.2f} of the deviation of pixels"
    return {
        "crop": f"{tall} x {wide}: {of}, and a batch is to take no more than {BYTES / 2**20:g} MiB",
        "levels": f"{made.levels}, down to maps of {smallest[0]} x {smallest[1]}, from {made.features} channels on",
        "batch": f"{made.batch_size} crops: what fits, but no more than {SHARE:.0%} of the pixels of "
        f"{found.examples:,} pictures, and {LEAST} at least",
        "foreground": (
            f"{made.foreground:.0%} of the crops are around it: it has {found.foreground:.1%} of the pixels"
            if made.foreground
            else f"crops are anywhere: it has {found.foreground:.1%} of the pixels, a crop shows "
            f"{min(tall * wide / (height * width), 1):.0%} of a picture"
        ),
        "values": (
            f"each picture from its percentile {made.percentiles[0]:g} to {made.percentiles[1]:g}: {grey}"
            if made.percentiles
            else "minus their mean, over their deviation, of all pictures"
        ),
        "prediction": "whole pictures" if made.whole else "by windows of the size of a crop, that overlap",
    }
