"""tfds(name=NAME), in short tfds:NAME: data sets already prepared by TensorFlow Datasets, read without TensorFlow.

NAME is name, name/config, name:version or name/config:version, or the folder of a prepared set. Whether it is prepared
is decided from the disk before TFDS is imported: TFDS itself would try to download, and offline waits for minutes.
"""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.data.access import Groups, sized
from cnn_jax.data.decoded import Files, decoded_splits
from cnn_jax.data.prepare import ImagePrepare, Resize, square
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import HASHED_BYTES, digest_files
from cnn_jax.data.text import Unit
from cnn_jax.data.texts import text_splits
from cnn_jax.data.tree import SYNONYMS
from cnn_jax.paths import written


def prepared(name: str) -> Path | None:
    """The folder of the newest prepared version of a set, or None."""
    if not name:
        return None
    name, _, version = name.partition(":")
    folder = written(name)
    if not folder.is_absolute():
        folder = _data_dir() / name
    candidates = [folder, *folder.glob("*")]
    found = [path for path in candidates if (path / "dataset_info.json").is_file() and version in ("", path.name)]
    return max(found, key=lambda path: [int(part) for part in path.name.split(".") if part.isdigit()], default=None)


def tfds(
    name: str,
    *,
    size: int | tuple[int, int] | None = None,
    resize: Resize = "crop",
    crop: float = 1.0,
    interpolation: str = "bilinear",
    channels: int | None = None,
    white: int | None = None,
    random_area: tuple[float, float] | tuple[()] = (),
    random_aspect: tuple[float, float] = (3 / 4, 4 / 3),
    corrupt: str = "skip",
    unit: Unit = "word",
    least: int = 1,
    lengths: tuple[int, ...] = (),
) -> Splits:
    """The splits of a classification set with a feature "image", or else a text, and one called "label".

    Of the names that splits have elsewhere those in `tree.SYNONYMS` are known.

    The settings are those of `folder`; channels are the set's own unless they are given. Classes have like shares of a
    carved split or a subset where the split has at most 256 MiB, as their labels are read for that. Of texts, which are
    held in memory, unit, least and lengths are the settings: see `text.TextPrepare` and `text.learned`.

    Raises:
      FileNotFoundError: the set is not prepared.
      ValueError: it is prepared in another format, has no image or text and label, or has images of differing sizes
        while no `size` is given.
    """
    folder = prepared(name)
    if folder is None:
        how = f"run `tfds build {name or 'NAME'} --file_format=array_record` where there is TensorFlow and a network"
        raise FileNotFoundError(f"tfds:{name} is not prepared in {_data_dir()}: {how}, or set TFDS_DATA_DIR")
    _refuse_foreign(folder, f"tfds:{name}")
    import tensorflow_datasets  # about a second, and most runs do not need it

    builder = tensorflow_datasets.builder_from_directory(folder)
    info = builder.info
    stored_as = dict(info.features)
    image, label = stored_as.get("image"), stored_as.get("label")
    kinds = tensorflow_datasets.features
    text = next((feature for feature, kind in stored_as.items() if isinstance(kind, kinds.Text)), "")
    text = "" if isinstance(image, kinds.Image) else text
    if not (text or isinstance(image, kinds.Image)) or not isinstance(label, kinds.ClassLabel):
        raise ValueError(f"tfds:{name} has no image or text and class label, but {', '.join(stored_as)}")
    height, width, stored = image.shape if isinstance(image, kinds.Image) else (0, 0, 0)
    if not size and None in (height, width):
        raise ValueError(f"tfds:{name} has images of differing sizes: {sized(f'tfds:{name}')}")
    prepare = ImagePrepare(
        size=square(size),
        resize=resize,
        crop=crop,
        interpolation=interpolation,
        channels=channels or stored or 3,
        white=white,
        random_area=random_area,
        random_aspect=random_aspect,
    )
    skip = None if text else {"image": tensorflow_datasets.decode.SkipDecoding()}  # for the encoded bytes
    found = {split: next((n for n in names if n in info.splits), None) for split, names in SYNONYMS.items()}
    splits = {split: named for split, named in found.items() if named}
    if not splits:
        raise ValueError(f"tfds:{name} has no train, validation or test split, but {', '.join(info.splits)}")
    left = {
        "splits": [other for other in info.splits if other not in splits.values()],
        "features": [other for other in stored_as if other not in (text or "image", "label")],
    }
    try:
        records = {split: builder.as_data_source(named, decoders=skip) for split, named in splits.items()}
    except NotImplementedError:
        how = "prepare it again with --file_format=array_record"
        raise ValueError(f"tfds:{name} is prepared as {info.file_format.value}, not for random access: {how}") from None
    about: dict[str, Any] = {
        "name": f"tfds:{name}",
        "classes": label.names,
        "licence": " ".join((info.redistribution_info.license or "see the set's page").split()),
        "citation": info.citation,
        "notes": [f"left out {len(names)} {what}, as {names[0]}" for what, names in left.items() if names],
    }
    if text:
        return text_splits(
            texts={split: [_text(row[text]) for row in source] for split, source in records.items()},
            targets={split: {"label": _labels(source).astype(np.int32)} for split, source in records.items()},
            roles={"label": "label"},
            unit=unit,
            least=least,
            lengths=lengths,
            **about,
        )
    return decoded_splits(
        {
            split: _files(
                source,
                f"tfds:{name} {splits[split]}",
                partial(_labels, source) if info.splits[splits[split]].num_bytes <= HASHED_BYTES else None,
            )
            for split, source in records.items()
        },
        prepare,
        fingerprint=digest_files(folder, [path for path in folder.iterdir() if path.is_file()])[0],
        corrupt=corrupt,
        **about,
    )


def _refuse_foreign(folder: Path, name: str) -> None:
    """Raises ValueError where a set names features that are not TFDS's own: it imports whatever module they are in."""
    file = folder / "features.json"
    try:
        waiting: list[Any] = [json.loads(file.read_text(encoding="utf-8"))] if file.is_file() else []
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                kinds = [str(value[key]) for key in ("pythonClassName", "type") if isinstance(value.get(key), str)]
                # Of "type" only a class is imported; the word may also stand for a type of numbers.
                foreign = [kind for kind in kinds if "." in kind and not kind.startswith("tensorflow_datasets.")]
                if foreign:
                    raise ValueError(f"its features are of {foreign[0]!r}, not of TFDS: their code is not imported")
            waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: {error}") from None


def _data_dir() -> Path:
    return written(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _labels(records: Any) -> np.ndarray:
    return np.array([records[index]["label"] for index in range(len(records))])


def _files(records: Any, where: str, groups: Groups) -> Files:
    def load(index: int) -> tuple[bytes, int]:
        record = records[index]
        return record["image"], int(record["label"])

    return Files(load, lambda index: f"{where} {index}", len(records), groups)
