"""What a folder of one's own pictures holds, as far as a recipe for it depends on that."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from cnn_jax.data.access import threads
from cnn_jax.data.folder import class_files
from cnn_jax.data.images import CorruptImage, Outline, outline
from cnn_jax.data.source import TEST_FRACTION, permutation
from cnn_jax.data.tree import LeftOut
from cnn_jax.paths import printable, written

LOOKED_AT = 500  # pictures whose size and colour are looked at
LONG = 1.5  # longer side over shorter side, from which on a square from the centre loses a third of a picture

# Where sources of objects find their annotations, and what stands in them: which no class folders have beside them.
ANNOTATIONS = {
    "coco": (("*.json", "annotations/*.json", "*/_annotations.coco.json"), b'"annotations"'),
    "voc": (("*.xml", "Annotations/*.xml", "train/*.xml"), b"<annotation"),
    "yolo": (("labels/*.txt", "labels/*/*.txt", "*/labels/*.txt"), b""),
}
FEW, LARGEST = 4, 2**30  # files of each kind that are looked into, and their bytes


class Found(NamedTuple):
    """What a folder of class folders holds.

    path: as it was given.
    counts: {split: {class: pictures}}; "all" where there are no splits.
    side: median of the shorter sides of the pictures looked at, in pixels.
    equal: [H, W] where all of them are of that size, else None.
    long: share of them of which a square from the centre would lose a third or more.
    grey: whether all of them are grey.
    megapixels: their mean.
    """

    path: str
    counts: Mapping[str, Mapping[str, int]]
    side: int
    equal: tuple[int, int] | None
    long: float
    grey: bool
    megapixels: float

    def __str__(self) -> str:
        total = [count for classes in self.counts.values() for count in classes.values()]
        kind = "grey" if self.grey else "colour"
        size = f"of {self.equal[0]} x {self.equal[1]}" if self.equal else f"of about {self.side}"
        split = "" if "all" in self.counts else f" in {', '.join(self.counts)}"
        per = f"{min(total)}" if min(total) == max(total) else f"{min(total)} to {max(total)}"
        return f"{sum(total):,} {kind} pictures {size} pixels{split}, {self.classes} classes of {per} pictures"

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(next(iter(self.counts.values())))

    @property
    def training(self) -> list[int]:
        """Pictures of each class that are left for training once the source has carved a test split."""
        known = self.counts.get("train") or next(iter(self.counts.values()))
        if "all" not in self.counts:
            return list(known.values())
        return [count - min(max(round(count * TEST_FRACTION), 1), count - 1) for count in known.values()]

    @property
    def scored(self) -> int:
        """Pictures of the test split, 0 where there is none."""
        if "all" in self.counts:
            return sum(self.counts["all"].values()) - sum(self.training)
        return sum(self.counts.get("test", {}).values())


def look(path: str) -> Found:
    """Looks at the folder `path`: at the names of all files, and at the heads of LOOKED_AT pictures.

    Raises ValueError, in one line, where there is nothing to tell apart, as the source does, or to learn from.
    """
    root = written(path)
    if annotated := annotations_in(root):
        kind, file = annotated
        raise ValueError(
            f"'{printable(path)}' holds boxes around objects ({printable(file.relative_to(root))}): for a detector say "
            f"launch.py train objects --config.data.source={kind}:{printable(path)}"
        )
    splits = class_files(root, LeftOut(root))
    files = [file for classes in splits.values() for pictures in classes.values() for file in pictures]
    seen, reason = list[Outline](), ""
    for head in threads().map(_outline, (files[i] for i in permutation(len(files), 0)[:LOOKED_AT])):
        if isinstance(head, str):
            reason = head
        else:
            seen.append(head)
    if not seen:
        raise ValueError(f"not one picture of '{printable(path)}' can be read, as {reason}")
    sizes = [(head.height, head.width) for head in seen]
    found = Found(
        path=path,
        counts={
            split: {name: len(found) for name, found in sorted(classes.items())} for split, classes in splits.items()
        },
        side=round(median(map(min, sizes))),
        equal=sizes[0] if len(set(sizes)) == 1 else None,
        long=float(np.mean([max(size) > LONG * min(size) for size in sizes])),
        grey=all(head.channels == 1 for head in seen),
        megapixels=float(np.mean([height * width for height, width in sizes])) / 1e6,
    )
    if "train" not in found.counts and "all" not in found.counts:
        raise ValueError(f"'{printable(path)}' has no training pictures: name a folder train, or none as a split")
    if "all" in found.counts and not found.scored:
        raise ValueError(f"'{printable(path)}' has one picture of each class: none can be kept for a test, add some")
    return found


def annotations_in(root: Path) -> tuple[str, Path] | None:
    """The source that reads the boxes annotated in a folder, as "coco", and a file of them; None for none."""
    for kind, (patterns, word) in ANNOTATIONS.items():
        for file in (file for pattern in patterns for file in sorted(root.glob(pattern))[:FEW]):
            if file.is_file() and file.stat().st_size <= LARGEST and word in file.read_bytes():
                return kind, file
    return None


def _outline(file: Path) -> Outline | str:
    try:
        return outline(file)
    except CorruptImage as error:
        return f"{printable(file)}: {error}"
