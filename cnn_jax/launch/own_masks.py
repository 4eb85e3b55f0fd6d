"""What a folder of one's own pictures with masks holds, as far as a recipe for it depends on that."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from cnn_jax.data.masks import masks
from cnn_jax.data.planning import Fingerprint, fingerprint
from cnn_jax.data.source import View, made, permutation, strata, test_part
from cnn_jax.data.spec import named
from cnn_jax.lookup import lookup
from cnn_jax.paths import printable

LOOKED_AT = 50  # pictures whose channels are compared
LISTED = 6  # classes that are named


class FoundMasks(NamedTuple):
    """What a folder of pictures with masks holds.

    source: as it is written on the command line; asked: whether somebody wrote it so.
    counts: {split: pictures}, "all" where there are no splits. scored: pictures of the test split.
    groups: how many of those left for training are in each group of which validation gets its share.
    seen: the fingerprint of what is left for training. grey: whether all pictures are.
    size: [H, W] of examples; several: whether they have several.
    """

    source: str
    counts: Mapping[str, int]
    scored: int
    groups: tuple[int, ...]
    seen: Fingerprint
    grey: bool
    size: tuple[int, int]
    several: bool
    asked: bool = False

    def __str__(self) -> str:
        kind, split = "grey" if self.grey else "colour", "" if "all" in self.counts else f" in {', '.join(self.counts)}"
        size = " x ".join(map(str, self.seen.size))
        shares = [f"{printable(n)} {s:.1%}" for n, s in zip(self.seen.classes, self.seen.shares, strict=True)]
        more = f" and {len(shares) - LISTED} more" if len(shares) > LISTED else ""
        found = f"{sum(self.counts.values()):,} {kind} pictures with masks, of {size} pixels{split}"
        return f"{found}, {len(shares)} classes: {', '.join(shares[:LISTED])}{more}"


def look(path: str, source: str = "") -> FoundMasks:
    """Looks at the folder `path`, at all its masks and some pictures.

    source: the one that somebody asks for, as on the command line.

    Raises ValueError, in one line, for what the source refuses, and where there is nothing to learn from.
    """
    splits = made(lookup(source) if source else partial(masks, path=path))
    train = splits.get("train") or splits.get("all")
    if train is None:
        raise ValueError(f"'{printable(path)}' has no training pictures: name a folder train, or none as a split")
    scored, spec = len(splits.get("test", ())), train.spec
    counts = {split: len(found) for split, found in splits.items()}
    if "all" in splits:
        left, test = test_part(train)
        train, scored = View(train, left), len(test)
        if not scored:
            raise ValueError(f"'{printable(path)}' has one picture: none can be kept for a test, add some")
    seen, grey, text = fingerprint(train), spec.input.shape[-1] == 1, source
    if not source:
        name = named(spec.inputs, "image")
        one = (train.batch(np.array([index]))[name] for index in permutation(len(train), 0)[:LOOKED_AT])
        grey = all((image == image[..., :1]).all() for image in one)
        seen = seen._replace(channels=1) if grey else seen
        text = f"masks({path!r})"
    height, width = spec.input.shape[:2]
    groups = strata(train)
    sizes = [len(train)] if groups is None else np.unique(groups, return_counts=True)[1].tolist()
    return FoundMasks(
        text, counts, scored, tuple(sizes), seen, grey, (height, width), len(spec.shapes) > 1, bool(source)
    )
