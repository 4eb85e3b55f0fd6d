"""yolo(path=PATH), in short yolo:PATH: pictures with boxes in text files, "class cx cy w h" a line, as YOLO reads them.

PATH has data.yaml with the `names` of the classes, or classes.txt with one a line. A picture images/a/b.jpg has its
boxes in labels/a/b.txt; or labels and pictures are in one folder. Splits are folders called train, val and test (or
training, valid, dev, testing), above or below images, or what data.yaml says of train, val and test.

The centre, width and height of a box are shares of the picture's width and height. A picture without a text file has
no objects.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from cnn_jax.data.access import threads
from cnn_jax.data.annotated import Annotated, Care, Tally
from cnn_jax.data.images import SUFFIXES
from cnn_jax.data.objects import SIZE, object_splits
from cnn_jax.data.prepare import Resize, Sizes, prepared
from cnn_jax.data.source import Splits
from cnn_jax.data.tree import SYNONYMS, LeftOut, pictures
from cnn_jax.paths import printable, written

BYTES = 2**24  # of a text file at most
SHARE = 2.0  # a greater number is none that was meant as a share


class Labelled(NamedTuple):
    """A picture and its text file, which may not be there, and the rows in it, [k, 5]."""

    picture: Path
    file: Path
    rows: np.ndarray


def yolo(
    path: str,
    *,
    size: Sizes = SIZE,
    resize: Resize = "letterbox",
    interpolation: str = "bilinear",
    channels: int = 3,
    white: int | None = None,
    corrupt: str = "skip",
    faulty: str = "skip",
    turned: str = "guess",
) -> Splits:
    """The splits "train", "validation" and "test" that there are, or "all" where there are none.

    Images are uint8 [H, W, channels]; see `object_splits` for the other fields.

    Args:
      path: of the folder, or of data.yaml in it.
      size, resize, interpolation, channels, white: as in `coco`.
      corrupt, faulty, turned: what is done in cases of doubt, see `Care`.

    Raises:
      ValueError: no such folder, no names of classes, no pictures, a line that is not five numbers, a class that there
        is not, boxes in pixels, no objects.
    """
    name, place, tally = f"yolo:{printable(path)}", written(path).absolute(), Tally()
    root = place.parent if place.is_file() else place
    if not root.is_dir():
        raise ValueError(f"{name} is not a folder: give the one that holds images and labels")
    description = _description(place if place.is_file() else None, root)
    classes = _classes(name, root, description)
    left = LeftOut(root)
    splits = {split: _pictures(folder, left) for split, folder in _splits(name, root, description).items()}
    splits = {split: found for split, found in splits.items() if found}
    for kind, count in left.counts.items():
        tally.add(count, f"{kind} are left out", left.first[kind])
    if not splits:
        raise ValueError(f"{name} has no pictures: they are looked for in its folder images")
    labelled = {
        split: list(threads().map(lambda picture: _labelled(picture, root, len(classes)), found))
        for split, found in splits.items()
    }
    every = [one for found in labelled.values() for one in found]
    without = [one.picture for one in every if not one.file.is_file()]
    if len(without) == len(every):
        first = printable(every[0].file.relative_to(root))
        raise ValueError(
            f"{name}: not one of {len(every):,} pictures has its text file, as {first}: are labels elsewhere?"
        )
    if without:
        what = "pictures have no text file and are taken to have no objects"
        tally.add(len(without), what, printable(without[0].relative_to(root)))
    known = {one.file for one in every}
    spare = [file for folder in {one.file.parent for one in every} for file in sorted(folder.glob("*.txt"))]
    spare = [file for file in spare if file not in known and file.name not in ("classes.txt", "README.txt")]
    if spare:
        tally.add(len(spare), "text files without a picture are left out", printable(spare[0].relative_to(root)))
    return object_splits(
        {split: _annotated(root, found) for split, found in labelled.items()},
        prepared(size, resize=resize, interpolation=interpolation, channels=channels, white=white),
        name=name,
        read_from=[one.file for one in every if one.file.is_file()],
        classes=classes,
        care=Care(corrupt, faulty, turned),
        tally=tally,
    )


def _pictures(folder: Path, left: LeftOut) -> list[Path]:
    beside = (".txt", ".yaml", ".yml")
    return [file for file in pictures(folder, left, (*SUFFIXES, *beside)) if file.suffix.lower() not in beside]


def _description(file: Path | None, root: Path) -> Mapping[str, Any]:
    """What the .yaml file says, {} where there is none. Raises ValueError, in one line, for what is no mapping."""
    file = file or next((path for n in ("data.yaml", "data.yml", "dataset.yaml") if (path := root / n).is_file()), None)
    if file is None:
        return {}
    what = f"'{printable(file)}'"
    if file.stat().st_size > BYTES:
        raise ValueError(f"{what} has more than {BYTES:,} bytes")
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} is no YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{what} holds no names of classes: write 'names: [cat, dog]'")
    return content


def _classes(name: str, root: Path, description: Mapping[str, Any]) -> list[str]:
    """The names of the classes by their numbers. Raises ValueError where there are none, or not one for each number."""
    names = description.get("names")
    if names is None:
        file = next((path for n in ("classes.txt", "labels/classes.txt") if (path := root / n).is_file()), None)
        if file is None:
            raise ValueError(f"{name} has no names of classes: add data.yaml with 'names: [cat, dog]', or classes.txt")
        return [
            line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise ValueError(
                f"{name}: the names of classes are not numbered from 0 to {len(names) - 1}: {str(list(names))[:80]}"
            )
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(one, str | int) for one in names):
        raise ValueError(f"{name}: 'names' is no list of names: write 'names: [cat, dog]'")
    return [str(one) for one in names]


def _splits(name: str, root: Path, description: Mapping[str, Any]) -> dict[str, Path]:
    """{split: folder of its pictures}."""
    found: dict[str, Path] = {}
    for split, words in SYNONYMS.items():
        for word in words:
            if split not in found and isinstance(description.get(word), str):
                # Programs write ../train/images for what is train/images; it is looked for in the folder alone.
                parts = [part for part in PureWindowsPath(description[word]).parts if part not in (".", "..")]
                folder = next((f for at in range(len(parts)) if (f := root.joinpath(*parts[at:])).is_dir()), None)
                folder = folder if parts else root
                if folder is None:
                    raise ValueError(
                        f"{name}: '{printable(description[word])}', which data.yaml calls {word}, is no folder in it"
                    )
                found[split] = folder
    if found:
        return found
    for split, words in SYNONYMS.items():
        for folder in (root / part for word in words for part in (f"images/{word}", f"{word}/images", word)):
            if split not in found and folder.is_dir():
                found[split] = folder
    return found or {"all": root / "images" if (root / "images").is_dir() else root}


def _labelled(picture: Path, root: Path, classes: int) -> Labelled:
    """A picture with its boxes. Raises ValueError, in one line with file and line number, for what is none."""
    parts = list(picture.relative_to(root).parts)
    places = [at for at, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    file = root.joinpath(*parts).with_suffix(".txt")
    if not file.is_file():
        return Labelled(picture, file, np.zeros((0, 5)))
    if file.stat().st_size > BYTES:
        raise ValueError(f"'{printable(file)}' has more than {BYTES:,} bytes")
    rows = list[list[float]]()
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if words := line.split():
            rows.append(_row(words, f"'{printable(file)}', line {number}", classes))
    return Labelled(picture, file, np.array(rows, np.float64).reshape(-1, 5))


def _row(words: Sequence[str], where: str, classes: int) -> list[float]:
    if len(words) != 5:
        more = ": outlines and scores are not read" if len(words) > 5 else ""
        raise ValueError(f"{where} has {len(words)} words, not five: class cx cy w h{more}")
    try:
        row = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"{where} is '{printable(' '.join(words))[:60]}', not five numbers: class cx cy w h") from None
    if row[0] not in range(classes):
        raise ValueError(
            f"{where} has the class {printable(words[0])[:20]}, there are {classes} from 0 to {classes - 1}"
        )
    if max(map(abs, row[1:])) > SHARE:
        raise ValueError(
            f"{where} has {max(row[1:], key=abs):g}: centre and size must be shares of the picture, from 0 to 1"
        )
    return row


def _annotated(root: Path, found: Sequence[Labelled]) -> Annotated:
    picture = np.repeat(np.arange(len(found)), [len(one.rows) for one in found])
    rows = np.concatenate([np.zeros((0, 5)), *(one.rows for one in found)])
    start = np.searchsorted(picture, np.arange(len(found)))

    def object_name(index: int) -> str:
        of = picture[index]
        return f"box {index - start[of] + 1} of {printable(found[of].file.relative_to(root))}"

    return Annotated(
        files=[one.picture for one in found],
        names=[printable(one.picture.relative_to(root)) for one in found],
        sizes=np.zeros((len(found), 2), int),
        picture=picture,
        boxes=np.concatenate([rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2], 1),
        labels=rows[:, 0].astype(int),
        ignored=np.zeros(len(rows), int),
        areas=np.full(len(rows), np.nan),
        object_name=object_name,
        shares=True,
    )
