"""folder(path=PATH), in short folder:PATH: images in one folder per class.

Either PATH/train/CLASS/*.png, PATH/test/CLASS and PATH/validation/CLASS, or some of these (also called training,
testing, valid, val, dev), all with the same classes, or PATH/CLASS/*.png without splits. A folder is a split only if it
holds class folders, so a class may be called train. Folders below a class count for it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from cnn_jax.data.decoded import Files, decoded_splits
from cnn_jax.data.images import CorruptImage
from cnn_jax.data.prepare import ImagePrepare, Resize, square
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import copies, digest_files
from cnn_jax.data.tree import IMAGES, LeftOut, Meant, class_folders, split_folders
from cnn_jax.paths import printable, written

Classes = dict[str, list[Path]]  # the pictures of each class, sorted


def folder(
    path: str,
    *,
    size: int | tuple[int, int] | None = None,
    resize: Resize = "crop",
    crop: float = 1.0,
    interpolation: str = "bilinear",
    channels: int = 3,
    white: int | None = None,
    random_area: tuple[float, float] | tuple[()] = (),
    random_aspect: tuple[float, float] = (3 / 4, 4 / 3),
    corrupt: str = "skip",
) -> Splits:
    """The splits "train", "validation" and "test" that there are, or "all" where there are none.

    Images are uint8 [H, W, channels]. Files that are no pictures by their names, and hidden ones, are left out.

    Args:
      path: of the folder.
      size: a side, or height and width, in pixels; without it all images must be of the size of the first.
      resize, crop, interpolation, channels, random_area, random_aspect: see `ImagePrepare`.
      white: the value that is white in 16-bit grey; None: what a file says, else the least 2^n - 1 that none of the
        images looked at is above.
      corrupt: "skip" leaves undecodable images out, with a warning and a count; "error" stops at the first.

    Raises:
      ValueError: no such folder, no class folders, one class only, a class folder without images, classes that differ
        between splits, no image that can be decoded, images of differing sizes.
    """
    root = written(path)
    if not root.is_dir():
        raise ValueError(
            f"folder:{printable(path)} is not a folder: give the path that holds train/CLASS or CLASS folders"
        )
    prepare = ImagePrepare(
        size=square(size),
        resize=resize,
        crop=crop,
        interpolation=interpolation,
        channels=channels,
        white=white,
        random_area=random_area,
        random_aspect=random_aspect,
    )
    left = LeftOut(root)
    splits = class_files(root, left)
    classes = sorted(next(iter(splits.values())))
    every = [file for files in splits.values() for found in files.values() for file in found]
    fingerprint, contents = digest_files(root, every)
    return decoded_splits(
        {split: _files(root, classes, files) for split, files in splits.items()},
        prepare,
        name=f"folder:{printable(path)}",
        classes=classes,
        licence="unknown (user data)",
        citation="",
        fingerprint=fingerprint,
        corrupt=corrupt,
        notes=(*left.notes(), *_like_splits(root, splits), *_copies(root, splits, contents)),
    )


def class_files(root: Path, left: LeftOut, meant: Meant = IMAGES) -> dict[str, Classes]:
    """{split: {class: its files}}, with the one split "all" where there are none; what is left out goes to `left`.

    Raises ValueError, in one line: no class folders, one class only, one without files, or not the same in all splits.
    """
    folders = split_folders(root, left, meant) or {"all": root}
    splits = {split: class_folders(folder, left, meant) for split, folder in folders.items()}
    first, *others = splits
    if len(splits[first]) < 2:
        raise ValueError(_one_class(root, *next(iter(splits[first].items()))))
    for split in others:
        for name in sorted(splits[first].keys() ^ splits[split].keys()):
            absent = folders[split if name in splits[first] else first]
            raise ValueError(
                f"class folder '{name}' is missing in {printable(absent)}: splits must have the same classes"
            )
    return splits


def _like_splits(root: Path, splits: Mapping[str, Classes]) -> Iterator[str]:
    """What is said where the folders taken for classes hold no pictures but folders of the same names, as splits do."""
    below = [{file.relative_to(root).parts[1:-1][:1] for file in files} for files in splits.get("all", {}).values()]
    if below and () not in below[0] and len(below[0]) > 1 and all(names == below[0] for names in below):
        names = sorted(splits["all"])
        yield (
            f"{len(names)} folders are taken for classes, as {names[0]} and {names[1]}, though all hold folders of the "
            "same names: if they are splits, call them train, validation and test"
        )


def _one_class(root: Path, name: str, files: list[Path]) -> str:
    inside = {file.parent for file in files} - {root / name}
    hint = f"is it folder:{printable(root / name)}?" if len(inside) > 1 else "give a folder of class folders"
    return f"folder:{printable(root)} has only one class folder, '{name}': {hint}"


def _files(root: Path, classes: list[str], files: Classes) -> Files:
    paths = [file for name in classes for file in files[name]]
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(files[name]) for name in classes])

    def load(index: int) -> tuple[bytes, int]:
        try:
            return paths[index].read_bytes(), int(labels[index])
        except OSError as error:  # it is gone by now, or may not be read
            raise CorruptImage(f"cannot read the image ({error.strerror})") from error

    return Files(
        load=load,
        name=lambda index: printable(paths[index]),
        size=len(paths),
        groups=labels,
        known=lambda index: {"label": labels[index]},
    )


def _copies(root: Path, splits: Mapping[str, Classes], contents: Mapping[Path, bytes]) -> Iterator[str]:
    places = [(split, name, file) for split, found in splits.items() for name, files in found.items() for file in files]
    yield from copies(root, ((split, file) for split, _, file in places), contents, "split")
    yield from copies(root, ((name, file) for _, name, file in places), contents, "class")
