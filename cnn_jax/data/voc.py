"""voc(path=PATH), in short voc:PATH: pictures with boxes in PASCAL VOC's XML, a file for each picture.

PATH has the folders Annotations, JPEGImages and perhaps ImageSets/Main with train.txt, val.txt and test.txt; or, as
programs for drawing boxes write it, pictures with an XML file beside each, also in folders train, valid and test.

Pixels are counted from 1 and a box's last ones are inside, as VOC does: xmin 1, xmax 10 is the box from 0 to 10.
Objects marked as difficult are ignored in training and scoring. Classes are the names of all objects in alphabetical
order.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np

from cnn_jax.data.access import threads
from cnn_jax.data.annotated import Annotated, Care, Tally
from cnn_jax.data.images import SUFFIXES
from cnn_jax.data.markup import read_xml
from cnn_jax.data.objects import SIZE, object_splits
from cnn_jax.data.prepare import Resize, Sizes, prepared
from cnn_jax.data.source import Splits
from cnn_jax.data.tree import SYNONYMS
from cnn_jax.paths import printable, written

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Place(NamedTuple):
    """An XML file and the folder of its picture."""

    file: Path
    pictures: Path


class Seen(NamedTuple):
    """What an XML file says."""

    picture: Path
    size: tuple[int, int]
    names: list[str]
    boxes: list[list[float]]
    difficult: list[bool]


def voc(
    path: str,
    *,
    classes: tuple[str, ...] = (),
    origin: int = 1,
    size: Sizes = SIZE,
    resize: Resize = "letterbox",
    interpolation: str = "bilinear",
    channels: int = 3,
    white: int | None = None,
    corrupt: str = "skip",
    faulty: str = "skip",
    turned: str = "guess",
    wrong_size: str = "error",
) -> Splits:
    """The splits "train", "validation" and "test" that there are, or "all" where there are none.

    Images are uint8 [H, W, channels]; see `object_splits` for the other fields.

    Args:
      path: of the folder.
      classes: their names, in order; (): those of all objects.
      origin: the number of the first pixel, 1 as in VOC; 0 takes the four numbers of a box as they are.
      size, resize, interpolation, channels, white: as in `coco`.
      corrupt, faulty, turned, wrong_size: what is done in cases of doubt, see `Care`.

    Raises:
      ValueError: no such folder, no annotations, XML that is none, an object without a name or a box, a class that is
        none of `classes`, no pictures, no objects.
    """
    name, root, tally = f"voc:{printable(path)}", written(path).absolute(), Tally()
    if origin not in (0, 1):
        raise ValueError(f"origin must be 0 or 1, not {origin!r}")
    if not root.is_dir():
        raise ValueError(f"{name} is not a folder: give the one that holds Annotations and JPEGImages")
    places = {split: found for split, found in _places(root, name, tally).items() if found}
    seen = {split: list(threads().map(annotation, found)) for split, found in places.items()}
    every = sorted({label for found in seen.values() for one in found for label in one.names})
    known = {label: number for number, label in enumerate(classes or every)}
    for split, found in seen.items():
        for place, one in zip(places[split], found, strict=True):
            if unknown := [label for label in one.names if label not in known]:
                what = f"{printable(place.file.relative_to(root))} has an object '{printable(unknown[0])}'"
                raise ValueError(f"{name}: {what}, which is none of the classes {', '.join(map(printable, known))}")
    return object_splits(
        {split: _annotated(root, places[split], found, known, origin, tally) for split, found in seen.items()},
        prepared(size, resize=resize, interpolation=interpolation, channels=channels, white=white),
        name=name,
        read_from=[place.file for found in places.values() for place in found],
        classes=list(known),
        care=Care(corrupt, faulty, turned, wrong_size),
        tally=tally,
    )


def _places(root: Path, name: str, tally: Tally) -> dict[str, list[Place]]:
    """{split: annotations}. Raises ValueError where there are none."""
    annotations, pictures = root / "Annotations", root / "JPEGImages"
    if annotations.is_dir():
        found = {file.stem: Place(file, pictures) for file in sorted(annotations.glob("*.xml"))}
        lists = _lists(root / "ImageSets" / "Main")
        splits = {split: _listed(file, found, tally) for split, file in lists.items()} or {"all": [*found.values()]}
        listed = {place.file for places in splits.values() for place in places}
        left = [place.file for place in found.values() if place.file not in listed]
        tally.add(len(left), "annotations are in no list of a split and are left out", left[0].name if left else "")
    else:
        folders = {path.name.lower(): path for path in sorted(root.iterdir(), reverse=True) if path.is_dir()}
        named = {split: next((folders[n] for n in names if n in folders), None) for split, names in SYNONYMS.items()}
        splits = {split: _beside(folder, tally) for split, folder in named.items() if folder}
        if not any(splits.values()):
            splits = {"all": _beside(root, tally)}
    splits = {split: places for split, places in splits.items() if places}
    if not splits:
        raise ValueError(
            f"{name} has no annotations: give a folder with Annotations/*.xml, or with pictures and .xml files"
        )
    return splits


def _lists(folder: Path) -> dict[str, Path]:
    """{split: file that lists its pictures}; trainval.txt is train where that is not there itself."""
    files = {file.stem: file for file in sorted(folder.glob("*.txt"))}
    found = {split: next((files[name] for name in names if name in files), None) for split, names in SYNONYMS.items()}
    found["train"] = found["train"] or files.get("trainval")
    return {split: file for split, file in found.items() if file}


def _listed(file: Path, found: Mapping[str, Place], tally: Tally) -> list[Place]:
    names = [
        line.split()[0] for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    ]
    absent = [name for name in names if name not in found]
    if absent:
        example = f"{printable(absent[0])} of {file.name}"
        tally.add(len(absent), "pictures that are listed have no annotation and are left out", example)
    return [found[name] for name in names if name in found]


def _beside(folder: Path, tally: Tally) -> list[Place]:
    """The annotations in a folder with their pictures beside them."""
    files = sorted(folder.glob("*.xml"))
    stems = {file.stem for file in files}
    left = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES and file.stem not in stems]
    if files and left:
        example = printable(left[0].relative_to(folder.parent))
        tally.add(len(left), "pictures without an .xml file are left out", example)
    return [Place(file, folder) for file in files]


def annotation(place: Place) -> Seen:
    """What an XML file says. Raises ValueError, in one line, for what is no annotation of VOC's kind."""
    root, what = read_xml(place.file), f"'{printable(place.file)}'"
    if root.tag != "annotation":
        raise ValueError(f"{what} is XML of <{printable(root.tag)[:40]}>, not an <annotation>")
    names, boxes, difficult = list[str](), list[list[float]](), list[bool]()
    for number, thing in enumerate(root.findall("object"), 1):
        label, corners = (thing.findtext("name") or "").strip(), thing.find("bndbox")
        if not label:
            raise ValueError(f"{what}: object {number} has no name")
        if corners is None:
            raise ValueError(f"{what}: object {number} ({printable(label)}) has no bndbox")
        names.append(label)
        boxes.append([_number(corners, key, f"{what}: object {number} ({printable(label)})") for key in CORNERS])
        difficult.append((thing.findtext("difficult") or "0").strip() not in ("0", "false", "False"))
    size = (_length(root.findtext("size/height")), _length(root.findtext("size/width")))
    return Seen(_picture(place, root.findtext("filename") or ""), size, names, boxes, difficult)


def _picture(place: Place, said: str) -> Path:
    """The picture of an annotation: the file that it names, or else one that is called like itself.

    Of what it names only the last part counts, so it leads nowhere else.
    """
    name = PureWindowsPath(said.strip()).name
    if name and os.path.isfile(place.pictures / name):
        return place.pictures / name
    endings = [ending for suffix in sorted(SUFFIXES) for ending in (suffix, suffix.upper())]
    files = (place.pictures / f"{place.file.stem}{ending}" for ending in endings)
    return next((file for file in files if file.is_file()), place.pictures / (name or f"{place.file.stem}.jpg"))


def _number(corners: Element, key: str, where: str) -> float:
    text = corners.findtext(key)
    try:
        return float(text or "")
    except ValueError:
        found = "no" if text is None else f"'{printable(text)[:40]}' for"
        raise ValueError(f"{where} has {found} {key}: it must be a number") from None


def _length(text: str | None) -> int:
    """Height or width, 0 where it is none."""
    try:
        value = float(text or 0)
    except ValueError:
        return 0
    return int(value) if 0 < value < 2**31 else 0


def _annotated(
    root: Path, places: Sequence[Place], found: Sequence[Seen], known: Mapping[str, int], origin: int, tally: Tally
) -> Annotated:
    picture = np.repeat(np.arange(len(found)), [len(one.names) for one in found])
    boxes = np.array([box for one in found for box in one.boxes], np.float64).reshape(-1, 4)
    start = np.searchsorted(picture, np.arange(len(found)))

    def object_name(index: int) -> str:
        of = picture[index]
        return f"object {index - start[of] + 1} of {printable(places[of].file.relative_to(root))}"

    if origin:
        early = np.flatnonzero((boxes[:, :2] < origin).any(1))
        if len(early):
            what = "boxes begin before pixel 1, from which VOC counts"
            how = "origin=0 in the source takes all corners as they are"
            tally.add(len(early), what, object_name(int(early[0])), how)
        boxes[:, :2] -= 1
    return Annotated(
        files=[one.picture for one in found],
        names=[printable(one.picture.relative_to(root)) for one in found],
        sizes=np.array([one.size for one in found], int),
        picture=picture,
        boxes=boxes,
        labels=np.array([known[name] for one in found for name in one.names], int),
        ignored=np.array([difficult for one in found for difficult in one.difficult], int),
        areas=np.full(len(boxes), np.nan),
        object_name=object_name,
    )
