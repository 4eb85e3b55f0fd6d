"""npz(path=PATH), in short npz:PATH: images and labels in one NumPy archive.

Arrays train_images, train_labels, test_images, test_labels (or x_train, y_train, x_test, y_test, the names of Keras's
mnist.npz), perhaps validation_ or val_ ones, and perhaps `classes`, the class names. Images are [N, H, W] or
[N, H, W, C]; integers must lie in 0..255 and become uint8, floats become float32 and are used as they are.
"""

from pathlib import Path

import numpy as np

from cnn_jax.data.prepare import Prepare, Resize, square
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import array_splits

NAMES = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}


def npz(
    path: str,
    *,
    size: int | tuple[int, int] | None = None,
    resize: Resize = "crop",
    channels: int | None = None,
    interpolation: str = "bilinear",
) -> Splits:
    """The splits that the archive holds; "train" must be there.

    size: a side, or height and width, to which images of bytes are brought, `resize` how; see `Prepare`.

    Raises:
      ValueError: unreadable file, missing arrays, wrong shapes or dtypes, labels out of range; one line.
    """
    text, file = path, Path(path).expanduser()
    if not text or not file.is_file():
        raise ValueError(f"npz:{text} is not a file")
    stored = _read(file)
    arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for split, names in NAMES.items():
        images = next((key for n in names for key in (f"{n}_images", f"x_{n}") if key in stored), None)
        labels = next((key for n in names for key in (f"{n}_labels", f"y_{n}") if key in stored), None)
        if images and labels:
            arrays[split] = _images(file, images, stored[images]), _labels(file, labels, stored[labels])
            if len(stored[images]) != len(stored[labels]):
                raise ValueError(f"{file}: {len(stored[images])} {images} but {len(stored[labels])} {labels}")
        elif images or labels:
            raise ValueError(f"{file} has {images or labels} but not the {'labels' if images else 'images'} to it")
    if "train" not in arrays:
        raise ValueError(f"{file} has no train_images and train_labels (or x_train, y_train), but {', '.join(stored)}")
    shape, dtype = arrays["train"][0].shape[1:], arrays["train"][0].dtype
    classes = _classes(file, stored.get("classes"), int(arrays["train"][1].max()) + 1)
    for split, (pixels, targets) in arrays.items():
        if pixels.shape[1:] != shape or pixels.dtype != dtype:
            found = f"{list(pixels.shape[1:])} {pixels.dtype}"
            raise ValueError(f"{file}: {split} images are {found}, train images {list(shape)} {dtype}")
        if targets.max() >= len(classes):
            raise ValueError(f"{file}: {split} label {targets.max()} is not below the {len(classes)} classes")
    return array_splits(
        f"npz:{text}",
        {split: {"image": pixels, "label": targets} for split, (pixels, targets) in arrays.items()},
        Prepare(size=square(size), resize=resize, channels=channels, interpolation=interpolation),
        inputs={"image": "image"},
        targets={"label": "label"},
        classes=classes,
        licence="unknown (user data)",
        citation="",
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception as error:  # zipfile and NumPy raise many kinds on damaged bytes
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is not a readable .npz file of plain arrays ({reason})") from error


def _images(path: Path, key: str, images: np.ndarray) -> np.ndarray:
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(f"{path}: {key} must be [N, H, W] or [N, H, W, C], not {list(images.shape)}")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise ValueError(f"{path}: {key} {list(images.shape)} looks channels first: store [N, H, W, C]")
    images = images if images.ndim == 4 else images[..., None]
    if images.dtype.kind == "f" and np.isfinite(images).all():
        return images.astype(np.float32)
    if images.dtype.kind in "iu" and images.min() >= 0 and images.max() <= 255:
        return images.astype(np.uint8)
    raise ValueError(f"{path}: {key} must be integers in 0..255 or finite floats, not these {images.dtype}")


def _labels(path: Path, key: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras stores CIFAR's
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(f"{path}: {key} must be integers [N], not {labels.dtype} {list(labels.shape)}")
    if labels.min() < 0 or labels.max() >= 2**20:
        raise ValueError(f"{path}: {key} must be class numbers from 0, not {labels.min()}..{labels.max()}")
    return labels


def _classes(path: Path, names: np.ndarray | None, count: int) -> list[str]:
    if names is None:
        return [str(label) for label in range(count)]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"{path}: classes must be a list of names, not {names.dtype} {list(names.shape)}")
    return names.tolist()
