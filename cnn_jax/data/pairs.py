"""Pictures and their masks in folders: which belong together, and what has no partner."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cnn_jax.data.annotated import Tally
from cnn_jax.data.tree import SYNONYMS, LeftOut, pictures
from cnn_jax.paths import printable


class Pair(NamedTuple):
    """A picture and its mask; name: what messages call the picture, as `label` what they call the mask."""

    image: Path
    mask: Path
    name: str
    label: str


def pairs_in(root: Path, folders: tuple[str, str], suffix: str, missing: str, tally: Tally) -> dict[str, list[Pair]]:
    """{split: its pairs, in order}, "all" where there are no splits.

    Raises ValueError, in one line without the name of the set: no such folders, no pairs, two files of one name, and,
    unless `missing` is "skip", one without the other.
    """
    if not root.is_dir():
        raise ValueError(f"'{printable(root)}' is not a folder: give the one that holds {' and '.join(folders)}")
    found, left = dict[str, list[Pair]](), LeftOut(root)
    places, odd = _found(root, folders)
    if not places:
        there = ", ".join(printable(path.name) for path in sorted(root.iterdir()) if path.is_dir()) or "none"
        raise ValueError(
            f"there are no folders {folders[0]} and {folders[1]} in '{printable(root)}', nor in train and test there "
            f"(its folders: {there[:100]}): folders=('{folders[0]}', '{folders[1]}') says what they are called"
        )
    if odd and missing == "error":
        what = f"the folder {printable(odd[0].relative_to(root))} has no partner of {' or '.join(folders)}"
        raise ValueError(f"{what}: add it, or say missing='skip' in the source")
    if odd:
        what = f"folders of a split have no partner of {' or '.join(folders)} and are left out"
        tally.add(len(odd), what, printable(odd[0].relative_to(root)))
    for split, (images, masks) in places.items():
        shown, labels = _by_name(root, images, left), _by_name(root, masks, left)
        if suffix:
            labels = {name.removesuffix(suffix): file for name, file in labels.items() if name.endswith(suffix)}
        both = [name for name in shown if name in labels]
        where = f"{printable(images.relative_to(root))} and {printable(masks.relative_to(root))}"
        if not shown or not labels:
            empty, what = (images, "pictures") if not shown else (masks, f"masks{suffix and f' that end in {suffix}'}")
            raise ValueError(f"no {what}: the folder {printable(empty.relative_to(root))} has none")
        if not both:
            first, other = next(iter(shown)), next(iter(labels))
            near = next((name for name in labels if name.startswith(first) and not suffix), "")
            hint = f"say suffix='{near.removeprefix(first)}' in the source" if near else "names must be the same"
            shown_both = f"as '{printable(first)}' and '{printable(other)}'"
            raise ValueError(f"no picture of {where} has a mask of its name, {shown_both}: {hint}")
        for some, others, what, partner in ((shown, labels, "pictures", "mask"), (labels, shown, "masks", "picture")):
            alone = [file for name, file in some.items() if name not in others]
            if not alone:
                continue
            file = printable(alone[0].relative_to(root))
            if missing == "error":
                more = f" ({len(alone):,} {what} have none)" if len(alone) > 1 else ""
                raise ValueError(f"{file} has no {partner}{more}: add it, or say missing='skip' in the source")
            tally.add(len(alone), f"{what} have no {partner} and are left out", file)
        found[split] = [
            Pair(shown[n], labels[n], printable(shown[n].relative_to(root)), printable(labels[n].relative_to(root)))
            for n in both
        ]
    for kind, count in left.counts.items():
        tally.add(count, f"{kind} are left out", left.first[kind])
    return found


def has_pairs(root: Path, folders: tuple[str, str] = ("images", "masks")) -> bool:
    """Whether a folder holds these folders, or splits that do."""
    return bool(_found(root, folders)[0])


def _found(root: Path, folders: tuple[str, str]) -> tuple[dict[str, tuple[Path, Path]], list[Path]]:
    """{split: folder of pictures, folder of masks}, and folders of splits that have one of the two."""
    splits = _splits(root)
    by_split = {split: both for split, path in splits.items() if (both := _both(path, folders))}
    if by_split:
        return by_split, [path for split, path in splits.items() if split not in by_split]
    if (both := _both(root, folders)) is None:
        return {}, []
    images, masks = (_splits(folder) for folder in both)
    if shared := [split for split in images if split in masks]:
        alone = [
            path for some, others in ((images, masks), (masks, images)) for k, path in some.items() if k not in others
        ]
        return {split: (images[split], masks[split]) for split in shared}, alone
    return {"all": both}, []


def _both(root: Path, folders: tuple[str, str]) -> tuple[Path, Path] | None:
    inside = {path.name.lower(): path for path in root.iterdir() if path.is_dir()}
    images, masks = (root / name if (root / name).is_dir() else inside.get(name.lower()) for name in folders)
    return (images, masks) if images and masks else None


def _splits(root: Path) -> dict[str, Path]:
    """The folders that are called like splits, the first name of each that is there."""
    inside = {path.name.lower(): path for path in sorted(root.iterdir(), reverse=True) if path.is_dir()}
    found = {split: [inside[name] for name in names if name in inside] for split, names in SYNONYMS.items()}
    return {split: paths[0] for split, paths in found.items() if paths}


def _by_name(root: Path, folder: Path, left: LeftOut) -> Mapping[str, Path]:
    """{path within the folder without its ending: file}. Raises ValueError where two files have one."""
    found = dict[str, Path]()
    for file in pictures(folder, left):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            both = f"{printable(found[name].relative_to(root))} and {printable(file.relative_to(root))}"
            raise ValueError(f"{both} have one name but for the ending: which is meant cannot be told, remove one")
        found[name] = file
    return found
