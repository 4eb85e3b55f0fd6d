"""coco(path=PATH), in short coco:PATH: pictures with boxes in COCO's JSON.

PATH is a JSON file, which has no splits, or a folder (or a pattern, as 'annotations/instances_*.json') with a file for
each split: instances_train2017.json and instances_val2017.json, train.json and test.json, also in a folder called
annotations, or train/_annotations.coco.json and valid/_annotations.coco.json. Splits are told by these words; they may
be called training, valid, val, dev, testing, too.

Classes are the categories in the order of their ids, which may have gaps: `Spec.class_ids` has them. Boxes around
crowds (iscrowd) are marked as such. Pictures without objects count like others.
"""

import glob
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.annotated import Annotated, Care, Name, Tally
from cnn_jax.data.objects import SIZE, object_splits
from cnn_jax.data.prepare import Resize, Sizes, prepared
from cnn_jax.data.regions import Region, read_region
from cnn_jax.data.source import Splits
from cnn_jax.data.spec import Targets
from cnn_jax.data.tree import SYNONYMS
from cnn_jax.paths import printable, written

BYTES = 2**31  # of a JSON file at most: in memory it is ten times as large
LARGE = 1e30  # a greater number is no area
LONGEST = 1000  # characters of a file name
TRIED = 50  # pictures that are looked for in each folder that may hold them

Record = Mapping[str, Any]
Id = int | str


class Named(NamedTuple):
    """A JSON file: its split, what it holds, and what messages call it."""

    split: str
    file: Path
    content: Record
    name: str


def coco(
    path: str,
    *,
    targets: Targets = "boxes",
    images: str | None = None,
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
    """The splits "train", "validation" and "test" that there are, or "all" where there is one file.

    Images are uint8 [H, W, channels]; see `object_splits` for the other fields.

    Args:
      path: of a JSON file, of a folder of them, or a pattern.
      targets: "boxes"; "instances", which are boxes and a map of the objects, from "segmentation", polygons or counts;
        or "class_map", a map of the classes.
      images: folder that file names begin at; None: whichever has them of the usual ones beside the file.
      size: a side, or height and width, in pixels; or several heights and widths, as ((384, 512), (512, 384)): each
        picture is then brought to the one that it fills best, and batches are of one size each.
      resize: "letterbox" or "stretch".
      interpolation, channels, white: see `ImagePrepare`.
      corrupt, faulty, turned, wrong_size: what is done in cases of doubt, see `Care`.

    Raises:
      ValueError: no such file, no JSON of this kind, unknown categories, categories that differ between splits, names
        of pictures that lead out of their folder, no pictures, no objects.
    """
    name = f"coco:{printable(path)}"
    tally = Tally()
    files = [Named(split, file, _read(file), _called(file)) for split, file in _files(path, tally).items()]
    classes = _categories(files[0])
    for other in files[1:]:
        if (found := _categories(other)) != classes:
            differing = sorted({*found.items()} ^ {*classes.items()}, key=str)[0]
            raise ValueError(
                f"{other.name} has other categories than {files[0].name}, as {differing[0]} {differing[1]!r}: "
                "splits must have the same"
            )
    ids = list(classes)
    numbers = [i for i in ids if isinstance(i, int) and abs(i) < 2**63]
    return object_splits(
        {one.split: _annotated(one, ids, images, tally, targets != "boxes") for one in files},
        prepared(size, resize=resize, interpolation=interpolation, channels=channels, white=white),
        name=name,
        read_from=[one.file for one in files],
        classes=[classes[i] for i in ids],
        care=Care(corrupt, faulty, turned, wrong_size),
        class_ids=numbers if len(numbers) == len(ids) else (),
        tally=tally,
        targets=targets,
    )


def _files(path: str, tally: Tally) -> dict[str, Path]:
    """{split: JSON file}. Raises ValueError where there are none, or several for a split."""
    place = written(path).absolute()
    if place.is_file():
        return {"all": place}
    if place.is_dir():
        patterns = ("*.json", "annotations/*.json", "*/_annotations.coco.json")
        found = [file for pattern in patterns for file in sorted(place.glob(pattern))]
    else:
        found = [Path(match) for match in sorted(glob.glob(str(place), recursive=True))]
    found = [file for file in found if file.is_file()]
    if not found:
        raise ValueError(f"coco:{printable(path)} is no JSON file, nor a folder with some: give the annotations' path")
    # COCO has captions and keypoints of the same pictures beside its boxes.
    boxes = [file for file in found if "instances" in file.stem]
    chosen: dict[str, Path] = {}
    for file in boxes or found:
        if split := split_in(file.parent.name if file.stem == "_annotations.coco" else file.stem):
            if split in chosen:
                both = f"{_called(chosen[split])} and {_called(file)}"
                raise ValueError(f"coco:{printable(path)}: {both} are both the {split} split: name one, or a pattern")
            chosen[split] = file
    if not chosen and len(found) == 1:
        return {"all": found[0]}
    if not chosen:
        names = ", ".join(printable(file.name) for file in found[:3])
        raise ValueError(f"coco:{printable(path)}: no file is called train, validation or test, but {names}: name one")
    left = [file for file in found if file not in chosen.values()]
    if left:
        tally.add(len(left), "other JSON files are left out", printable(left[0].name))
    return {split: chosen[split] for split in SYNONYMS if split in chosen}


def split_in(text: str) -> str:
    """The split that a word of `text` names, as "train" in instances_train2017; "" for none."""
    words = re.split(r"[\W_\d]+", text.lower())
    return next((split for split, names in SYNONYMS.items() if any(name in words for name in names)), "")


def _called(file: Path) -> str:
    """What messages call a file: with its folder where many are called the same."""
    return printable(f"{file.parent.name}/{file.name}" if file.name.startswith("_") else file.name)


def _read(file: Path) -> Record:
    """The JSON. Raises ValueError, in one line, for what is none, or none of this kind."""
    what = f"'{printable(file)}'"
    if file.stat().st_size > BYTES:
        raise ValueError(f"{what} has more than {BYTES:,} bytes: split it")
    try:
        content = json.loads(file.read_bytes())
    except (RecursionError, MemoryError):
        raise ValueError(f"{what} is nested too deeply for JSON of annotations") from None
    except ValueError as error:  # which names line and column
        raise ValueError(f"{what} is no JSON ({str(error)[:200]})") from None
    lists = {"images": "pictures", "annotations": "boxes", "categories": "classes"}
    for key, of in lists.items():
        if not (isinstance(content, dict) and isinstance(content.get(key), list)):
            raise ValueError(f"{what} has no list '{key}' of {of}: it is no JSON of COCO's kind")
        for number, record in enumerate(content[key]):
            if not isinstance(record, dict):
                raise ValueError(f"{what}: entry {number} of '{key}' is {_shown(record)}, not an object")
    return content


def _categories(one: Named) -> dict[Id, str]:
    """{id: name}, in the order of ids. Raises ValueError where an id is there twice or a name is none."""
    found: dict[Id, str] = {}
    for record in one.content["categories"]:
        key = _id(record, "id", lambda: f"{one.name}: a category")
        if key in found:
            raise ValueError(f"{one.name}: two categories have the id {_shown(key)}: give each its own")
        if not isinstance(record.get("name"), str) or not record["name"].strip():
            raise ValueError(
                f"{one.name}: category {_shown(key)} has the name {_shown(record.get('name'))}, not a text"
            )
        found[key] = record["name"].strip()
    if not found:
        raise ValueError(f"{one.name} has no categories: add a list 'categories' of id and name")
    twice = [name for name, count in Counter(found.values()).items() if count > 1]
    if twice:
        ids = " and ".join(_shown(key) for key, name in found.items() if name == twice[0])
        raise ValueError(f"{one.name}: categories {ids} have the same name '{printable(twice[0])}': rename one")
    return dict(sorted(found.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def _annotated(one: Named, ids: Sequence[Id], images: str | None, tally: Tally, regions: bool) -> Annotated:
    """The pictures and boxes of one file, and the regions too where they are wanted."""
    places = dict[Id, int]()
    names, sizes = list[str](), list[tuple[int, int]]()
    for record in one.content["images"]:
        key = _id(record, "id", lambda: f"{one.name}: an image")
        if key in places:
            raise ValueError(f"{one.name}: two images have the id {_shown(key)}: give each its own")
        places[key] = len(names)
        names.append(_file_name(record.get("file_name"), f"{one.name}: image {_shown(key)}"))
        sizes.append((_length(record.get("height")), _length(record.get("width"))))
    if not names:
        raise ValueError(f"{one.name} has no images: its list 'images' is empty")
    folder = _folder(one, names, images)
    keys = list(places)
    rows = _rows(one, places, {key: label for label, key in enumerate(ids)}, tally, regions)

    def object_name(index: int) -> str:
        return f"annotation {_shown(rows[index].id)} of image {_shown(keys[rows[index].picture])}, {one.name}"

    boxes = np.array([row.box for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Annotated(
        files=[folder / name for name in names],
        names=[Name(f"image {_shown(k)} ({printable(name)})", k, name) for k, name in zip(keys, names, strict=True)],
        sizes=np.array(sizes, int),
        picture=np.array([row.picture for row in rows], int),
        boxes=boxes,
        labels=np.array([row.label for row in rows], int),
        ignored=np.array([row.ignored for row in rows], int),
        areas=np.array([row.area for row in rows], np.float64),
        object_name=object_name,
        regions=[row.region for row in rows] if regions else (),
    )


class _Row(NamedTuple):
    id: Id
    picture: int
    label: int
    box: list[float]
    ignored: int
    area: float
    region: Region | str


def _rows(one: Named, places: Mapping[Id, int], labels: Mapping[Id, int], tally: Tally, regions: bool) -> list[_Row]:
    """The annotations. Raises ValueError for what has no box, or a category that there is not."""
    rows, seen = list[_Row](), Counter[Id]()
    for number, record in enumerate(one.content["annotations"]):

        def where(number: int = number, record: Record = record) -> str:
            return f"{one.name}: annotation {_shown(record.get('id', number))}"

        key = _id(record, "id", where) if "id" in record else number
        picture, category = _id(record, "image_id", where), _id(record, "category_id", where)
        if category not in labels:
            known = f"{len(labels)} categories, from {_shown(next(iter(labels)))} to {_shown(next(reversed(labels)))}"
            raise ValueError(f"{where()} has the category_id {_shown(category)}, which is none of the {known}")
        box = record.get("bbox")
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            raise ValueError(f"{where()} has the bbox {_shown(box)}, not four numbers: x, y, width, height in pixels")
        if picture not in places:
            tally.add(1, "boxes of images that are not listed are left out", f"{where()}, image {_shown(picture)}")
            continue
        written = (record["image_id"], record["category_id"])
        if any(
            isinstance(value, str) and isinstance(i, int) for value, i in zip(written, (picture, category), strict=True)
        ):
            what = "boxes have digits in quotes for the id of their image or category: they are taken for numbers"
            tally.add(1, what, where())
        area = record.get("area")
        if not (_is_number(area) and 0 <= area < LARGE):
            area = np.nan
            tally.add(1, "boxes have no area: it is taken to be their width x height", where())
        seen[key] += 1
        ignored = 2 if record.get("iscrowd") else int(bool(record.get("ignore")))
        region: Region | str = ""
        if regions:
            try:
                region = read_region(record.get("segmentation"))
            except ValueError as error:
                region = str(error)
        rows.append(_Row(key, places[picture], labels[category], box, ignored, area, region))
    if twice := [key for key, count in seen.items() if count > 1]:
        what = "annotations have the id of another: all are read, but other programs read one of them"
        tally.add(len(twice), what, f"{_shown(twice[0])} in {one.name}")
    return rows


def _folder(one: Named, names: Sequence[str], images: str | None) -> Path:
    """The folder that the names of pictures begin at. Raises ValueError where there is none."""
    if images is not None:
        folder = written(images).absolute()
        if not folder.is_dir():
            raise ValueError(f"images='{printable(images)}' is no folder")
        return folder
    above, last = one.file.parent, one.file.stem.rpartition("_")[2]
    inside = [
        Path(),
        Path("images"),
        *(Path(*parts) for parts in (("images", last), (last,), ("images", one.split), (one.split,))),
    ]
    tried = [base / part for base in (above, above.parent) for part in inside]
    step = max(len(names) // TRIED, 1)
    counts = [sum(os.path.isfile(folder / name) for name in names[::step]) for folder in tried]
    if not max(counts):
        example = printable(names[0])
        raise ValueError(
            f"{one.name}: none of its {len(names):,} images is beside it, as '{example}', nor in the folders images or "
            f"{printable(last)}: say where they are, as 'coco({printable(one.file.name)}, images=FOLDER)'"
        )
    return tried[counts.index(max(counts))]


def _file_name(value: object, where: str) -> str:
    """A file name within a folder. Raises ValueError for none, and for one that leads out of it."""
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST:
        raise ValueError(f"{where} has the file_name {_shown(value)}, not a text of at most {LONGEST} characters")
    path = PureWindowsPath(value)  # which knows both kinds of slashes, and drives
    if path.anchor or ".." in path.parts:
        raise ValueError(
            f"{where} has the file_name {_shown(value)}, which leads out of the folder of images: write names that "
            "begin in it"
        )
    return path.as_posix()


def _id(record: Record, key: str, where: Callable[[], str]) -> Id:
    """An id; one that is written as 7.0 or "7" is 7. Raises ValueError for what is none."""
    value = record.get(key)
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"0|-?[1-9]\d{0,17}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(f"{where()} has the {key} {_shown(value)}, neither a whole number nor a text")
    return value


def _length(value: object) -> int:
    """Height or width, 0 where it is none."""
    return int(value) if _is_number(value) and 0 < value < 2**31 else 0  # type: ignore[call-overload, operator]


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and not (isinstance(value, int) and abs(value) >= 2**63)
    )


def _shown(value: object) -> str:
    """A value of the file in a message."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = printable(" ".join(text.split()))
    text = text if len(text) <= 60 else text[:60] + "…"
    return f"'{text}'" if isinstance(value, str) else text
