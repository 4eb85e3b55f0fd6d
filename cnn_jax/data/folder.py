"""folder:PATH: images in one folder per class.

Either PATH/train/CLASS/*.png with PATH/test/CLASS and optionally PATH/validation (or val), all with the same classes,
or PATH/CLASS/*.png, where a fifth of each class is carved out as the test split by a fixed seed.
"""

import zlib
from pathlib import Path

import numpy as np

from cnn_jax.data.images import CorruptImage, Decode, decode_image
from cnn_jax.data.source import Read, Source, Spec, permutation
from cnn_jax.data.splits import decoded_splits, digest_files

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
TEST_FRACTION = 0.2

Files = dict[str, list[Path]]  # by class, sorted


def open_splits(argument: str, decode: Decode) -> dict[str, Source]:
    """The splits "train", perhaps "validation", and "test" (absent when there is PATH/train but no PATH/test).

    Images are uint8 [H, W, C] with 3 channels unless `decode.channels` says otherwise. Without `decode.image_size` all
    must be of the size of the first. Other files and hidden ones are passed over.

    Raises:
      ValueError: no such folder, no class folders, a class folder without images, classes that differ between splits,
        no image that can be decoded, images of differing sizes.
    """
    root = Path(argument).expanduser()
    if not argument or not root.is_dir():
        raise ValueError(f"folder:{argument} is not a folder: give the path that holds train/CLASS or CLASS folders")
    splits = _splits(root)
    classes = sorted(splits["train"])
    channels = decode.channels or 3
    readers = {}
    for split, files in splits.items():
        paths = [path for name in classes for path in files[name]]
        labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(files[name]) for name in classes])
        readers[split] = (_reader(paths, labels, channels, decode), len(paths), labels)
    spec = Spec(
        name=f"folder:{argument}",
        classes=tuple(classes),
        shape=_first_shape(f"folder:{argument}", *readers["train"][:2]),
        dtype="uint8",
        mean=(),
        std=(),
        licence="unknown (user data)",
        citation="",
        fingerprint=digest_files(
            root, [path for files in splits.values() for paths in files.values() for path in paths]
        ),
    )
    return decoded_splits(readers, spec, decode.corrupt)


def _splits(root: Path) -> dict[str, Files]:
    if not (root / "train").is_dir():
        for split in ("test", "validation", "val"):
            if (root / split).is_dir():
                raise ValueError(f"{root} has {split} but no train folder: add train/CLASS folders")
        return _carve_test(_files(root))
    splits = {"train": _files(root / "train")}
    for split, folder in (("validation", "validation"), ("validation", "val"), ("test", "test")):
        if (root / folder).is_dir() and split not in splits:
            splits[split] = _files(root / folder)
            for name in sorted(splits["train"].keys() ^ splits[split].keys()):
                absent = folder if name in splits["train"] else "train"
                raise ValueError(
                    f"class folder {name!r} is missing in {root / absent}: splits must have the same classes"
                )
    return splits


def _files(folder: Path) -> Files:
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise ValueError(f"no images: {folder} has no class folders")
    files = {path.name: sorted(file for file in path.iterdir() if _is_image(file)) for path in classes}
    for name, images in files.items():
        if not images:
            raise ValueError(f"class folder {folder / name} has no images ({', '.join(sorted(SUFFIXES))})")
    return files


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _carve_test(files: Files) -> dict[str, Files]:
    """Keeps one image of each class for train; keyed by class name, so that a new class moves no other image."""
    splits: dict[str, Files] = {"train": {}, "test": {}}
    for name, paths in files.items():
        order = permutation(len(paths), zlib.crc32(name.encode()))
        count = min(max(round(len(paths) * TEST_FRACTION), 1), len(paths) - 1)
        splits["test"][name] = [paths[i] for i in np.sort(order[:count])]
        splits["train"][name] = [paths[i] for i in np.sort(order[count:])]
    if not any(splits["test"].values()):
        raise ValueError("no test split can be carved from one image per class: add images, or train and test folders")
    return splits


def _reader(paths: list[Path], labels: np.ndarray, channels: int, decode: Decode) -> Read:
    def read(index: int) -> tuple[np.ndarray, int]:
        try:
            data = paths[index].read_bytes()
            return decode_image(data, channels, decode.image_size, decode.interpolation), int(labels[index])
        except CorruptImage as error:
            raise CorruptImage(f"{paths[index]}: {error}") from error

    return read


def _first_shape(name: str, read: Read, size: int) -> tuple[int, ...]:
    for index in range(size):
        try:
            return read(index)[0].shape
        except CorruptImage:
            continue
    raise ValueError(f"{name}: not one of {size} images can be decoded")
