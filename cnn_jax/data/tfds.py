"""tfds:NAME: data sets already prepared by TensorFlow Datasets, read without TensorFlow.

NAME is name, name/config, name:version or name/config:version, or the folder of a prepared set. Whether it is prepared
is decided from the disk before TFDS is imported: TFDS itself would try to download, and offline waits for minutes.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data.images import CorruptImage, Decode, decode_image
from cnn_jax.data.source import Read, Source, Spec
from cnn_jax.data.splits import decoded_splits, digest_files


def prepared(name: str) -> Path | None:
    """The folder of the newest prepared version of a set, or None."""
    if not name:
        return None
    name, _, version = name.partition(":")
    folder = Path(name).expanduser()
    if not folder.is_absolute():
        folder = _data_dir() / name
    candidates = [folder, *folder.glob("*")]
    found = [path for path in candidates if (path / "dataset_info.json").is_file() and version in ("", path.name)]
    return max(found, key=lambda path: [int(part) for part in path.name.split(".") if part.isdigit()], default=None)


def open_splits(argument: str, decode: Decode) -> dict[str, Source]:
    """The splits of a classification set with features "image" and "label", named by TFDS ("train", "test", ...).

    Raises:
      FileNotFoundError: the set is not prepared.
      ValueError: it is prepared in another format, has no image and label, or has images of differing sizes while
        `decode.image_size` is not set.
    """
    folder = prepared(argument)
    if folder is None:
        how = (
            f"run `tfds build {argument or 'NAME'} --file_format=array_record` where there is TensorFlow and a network"
        )
        raise FileNotFoundError(f"tfds:{argument} is not prepared in {_data_dir()}: {how}, or set TFDS_DATA_DIR")
    import tensorflow_datasets  # about a second, and most runs do not need it

    builder = tensorflow_datasets.builder_from_directory(folder)
    info = builder.info
    stored_as = dict(info.features)
    image, label = stored_as.get("image"), stored_as.get("label")
    kinds = tensorflow_datasets.features
    if not isinstance(image, kinds.Image) or not isinstance(label, kinds.ClassLabel):
        raise ValueError(f"tfds:{argument} has no image and class label, but {', '.join(stored_as)}")
    height, width, stored = image.shape
    channels = decode.channels or stored or 3
    if decode.image_size is None and None in (height, width):
        raise ValueError(f"tfds:{argument} has images of differing sizes: set image_size")
    shape = (decode.image_size or height, decode.image_size or width, channels)
    skip = {"image": tensorflow_datasets.decode.SkipDecoding()}  # for the encoded bytes
    splits = [split for split in ("train", "validation", "test") if split in info.splits]
    if "train" not in splits:
        raise ValueError(f"tfds:{argument} has no train split, but {', '.join(info.splits)}")
    try:
        records = {split: builder.as_data_source(split, decoders=skip) for split in splits}
    except NotImplementedError:
        how = "prepare it again with --file_format=array_record"
        raise ValueError(
            f"tfds:{argument} is prepared as {info.file_format.value}, not for random access: {how}"
        ) from None
    spec = Spec(
        name=f"tfds:{argument}",
        classes=tuple(label.names),
        shape=shape,
        dtype="uint8",
        mean=(),
        std=(),
        licence=" ".join((info.redistribution_info.license or "see the set's page").split()),
        citation=info.citation,
        fingerprint=digest_files(folder, [path for path in folder.iterdir() if path.is_file()]),
    )
    readers = {
        split: (_reader(source, f"tfds:{argument} {split}", channels, decode), len(source), None)
        for split, source in records.items()
    }
    return decoded_splits(readers, spec, decode.corrupt)


def _data_dir() -> Path:
    return Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def _reader(records: Any, where: str, channels: int, decode: Decode) -> Read:
    def read(index: int) -> tuple[np.ndarray, int]:
        record = records[index]
        try:
            image = decode_image(record["image"], channels, decode.image_size, decode.interpolation)
            return image, int(record["label"])
        except CorruptImage as error:
            raise CorruptImage(f"{where} {index}: {error}") from error

    return read
