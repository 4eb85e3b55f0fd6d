"""folder(path=PATH), in short folder:PATH: images in one folder per class.

Either PATH/train/CLASS/*.png with PATH/test/CLASS and optionally PATH/validation (or val), all with the same classes,
or PATH/CLASS/*.png, where a fifth of each class is carved out as the test split by a fixed seed.
"""

import zlib
from pathlib import Path

import numpy as np

from cnn_jax.data.images import CorruptImage
from cnn_jax.data.prepare import Prepare, Resize, read_image, square
from cnn_jax.data.source import Example, Read, Splits, permutation
from cnn_jax.data.spec import Field, Spec
from cnn_jax.data.splits import decoded_splits, digest_files

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
TEST_FRACTION = 0.2

Files = dict[str, list[Path]]  # by class, sorted


def folder(
    path: str,
    *,
    size: int | tuple[int, int] | None = None,
    resize: Resize = "crop",
    crop: float = 1.0,
    interpolation: str = "bilinear",
    channels: int = 3,
    random_area: tuple[float, float] | tuple[()] = (),
    random_aspect: tuple[float, float] = (3 / 4, 4 / 3),
    corrupt: str = "skip",
) -> Splits:
    """The splits "train", perhaps "validation", and "test" (absent when there is PATH/train but no PATH/test).

    Images are uint8 [H, W, channels]. Other files and hidden ones are passed over.

    Args:
      path: of the folder.
      size: a side, or height and width, in pixels; without it all images must be of the size of the first.
      resize, crop, interpolation, channels, random_area, random_aspect: see `Prepare`.
      corrupt: "skip" leaves undecodable images out, with a warning and a count; "error" stops at the first.

    Raises:
      ValueError: no such folder, no class folders, a class folder without images, classes that differ between splits,
        no image that can be decoded, images of differing sizes.
    """
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise ValueError(f"folder:{path} is not a folder: give the path that holds train/CLASS or CLASS folders")
    prepare = Prepare(
        size=square(size),
        resize=resize,
        crop=crop,
        interpolation=interpolation,
        channels=channels,
        random_area=random_area,
        random_aspect=random_aspect,
    )
    splits = _splits(root)
    classes = sorted(splits["train"])
    readers = {}
    for split, files in splits.items():
        paths = [file for name in classes for file in files[name]]
        labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(files[name]) for name in classes])
        readers[split] = (_reader(paths, labels, prepare), len(paths), labels)
    name = f"folder:{path}"
    spec = Spec(
        name=name,
        classes=tuple(classes),
        inputs={"image": Field("image", _first_shape(name, *readers["train"][:2]), "uint8")},
        targets={"label": Field("label", (), "int32")},
        prepare=prepare,
        licence="unknown (user data)",
        citation="",
        fingerprint=digest_files(
            root, [file for files in splits.values() for found in files.values() for file in found]
        ),
    )
    return decoded_splits(readers, spec, corrupt)


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


def _reader(paths: list[Path], labels: np.ndarray, prepare: Prepare) -> Read:
    def read(index: int, key: int | None) -> Example:
        try:
            image, _ = read_image(paths[index].read_bytes(), prepare, key)
        except CorruptImage as error:
            raise CorruptImage(f"{paths[index]}: {error}") from error
        return {"image": image, "label": labels[index]}

    return read


def _first_shape(name: str, read: Read, size: int) -> tuple[int, ...]:
    for index in range(size):
        try:
            return read(index, None)["image"].shape
        except CorruptImage:
            continue
    raise ValueError(f"{name}: not one of {size} images can be decoded")
