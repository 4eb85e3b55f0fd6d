"""tfds(name=NAME), in short tfds:NAME: data sets already prepared by TensorFlow Datasets, read without TensorFlow.

NAME is name, name/config, name:version or name/config:version, or the folder of a prepared set. Whether it is prepared
is decided from the disk before TFDS is imported: TFDS itself would try to download, and offline waits for minutes.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from cnn_jax.data.access import Groups, sized
from cnn_jax.data.decoded import Files, decoded_splits
from cnn_jax.data.prepare import ImagePrepare, Resize, square
from cnn_jax.data.sound import CorruptSound, Sound, SoundPrepare, decode_sound
from cnn_jax.data.sounds import Sounds, sound_splits
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import HASHED_BYTES, digest_files
from cnn_jax.data.text import Unit
from cnn_jax.data.texts import text_splits
from cnn_jax.data.tree import SYNONYMS
from cnn_jax.paths import written

BITS = {"uint8": 8, "int8": 8, "int16": 16}  # of samples that TFDS stores as such whole numbers
LOOKED = 50  # sounds of a split from which it is told of how many bits others are


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
    rate: int = 16_000,
    seconds: float = 1.0,
    random: bool = False,
) -> Splits:
    """The splits of a classification set with a feature "image", or else a sound or a text, and one called "label".

    Of the names that splits have elsewhere those in `tree.SYNONYMS` are known.

    The settings are those of `folder`; channels are the set's own unless they are given. Classes have like shares of a
    carved split or a subset where the split has at most 256 MiB, as their labels are read for that. Of texts, which are
    held in memory, unit, least and lengths are the settings: see `text.TextPrepare` and `text.learned`. Of sounds they
    are rate, seconds, random and corrupt: see `sound.SoundPrepare`.

    Raises:
      FileNotFoundError: the set is not prepared.
      ValueError: it is prepared in another format, has no image, sound or text and label, or has images of differing
        sizes while no `size` is given.
    """
    folder = prepared(name)
    if folder is None:
        how = f"run `tfds build {name or 'NAME'} --file_format=array_record` where there is TensorFlow and a network"
        raise FileNotFoundError(f"tfds:{name} is not prepared in {_data_dir()}: {how}, or set TFDS_DATA_DIR")
    _refuse_foreign(folder, f"tfds:{name}")
    import tensorflow_datasets  # about a second, and most runs do not need it

    with _sounds_without_tensorflow():
        builder = tensorflow_datasets.builder_from_directory(folder)
    info = builder.info
    stored_as = dict(info.features)
    image, label = stored_as.get("image"), stored_as.get("label")
    kinds = tensorflow_datasets.features
    pictures = isinstance(image, kinds.Image)
    sound, text = (
        "" if pictures else next((feature for feature, kind in stored_as.items() if isinstance(kind, wanted)), "")
        for wanted in (kinds.Audio, kinds.Text)
    )
    if not (pictures or sound or text) or not isinstance(label, kinds.ClassLabel):
        raise ValueError(f"tfds:{name} has no image, sound or text and class label, but {', '.join(stored_as)}")
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
    skip = {"image": tensorflow_datasets.decode.SkipDecoding()} if pictures else None  # for the encoded bytes
    found = {split: next((n for n in names if n in info.splits), None) for split, names in SYNONYMS.items()}
    splits = {split: named for split, named in found.items() if named}
    if not splits:
        raise ValueError(f"tfds:{name} has no train, validation or test split, but {', '.join(info.splits)}")
    left = {
        "splits": [other for other in info.splits if other not in splits.values()],
        "features": [other for other in stored_as if other not in (sound or text or "image", "label")],
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
    fingerprint = partial(digest_files, folder, [path for path in folder.iterdir() if path.is_file()])
    if sound:
        parts = {split: (source, f"tfds:{name} {splits[split]}") for split, source in records.items()}
        prepare_sound = SoundPrepare(rate=rate, seconds=seconds, random=random)
        found_sounds, notes = _sounds(parts, sound, stored_as[sound], rate)
        about["notes"] += notes
        return sound_splits(found_sounds, prepare_sound, corrupt=corrupt, fingerprint=fingerprint()[0], **about)
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
        fingerprint=fingerprint()[0],
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


@contextmanager
def _sounds_without_tensorflow() -> Iterator[None]:
    """TFDS makes what decodes sounds by TensorFlow as soon as it reads that a set has any, and never needs it here."""
    from unittest import mock

    from tensorflow_datasets.core.features import audio_feature

    stand_ins: dict[str, Any] = {name: lambda **settings: None for name in ("_EagerDecoder", "_LazyDecoder")}
    stand_ins["tf"] = SimpleNamespace(string=np.dtype(object))
    with mock.patch.multiple(audio_feature, **stand_ins):
        yield


def _sounds(
    parts: Mapping[str, tuple[Any, str]], feature: str, kind: Any, rate: int
) -> tuple[dict[str, Sounds], list[str]]:
    """The sounds of each split, of its records and what it is called; and what is taken for granted of them.

    TFDS holds samples as numbers, of which it says the rate or not, and not the loudest that there could be; or it
    holds encoded files.
    """
    dtype, notes = np.dtype(kind.np_dtype), []
    stored = int(kind.sample_rate or 0)
    first = next(iter(parts.values()))[0]
    some = [first[index][feature] for index in range(min(len(first), LOOKED))]
    files = bool(some) and isinstance(some[0], bytes)
    bits = BITS.get(dtype.name, 0)
    if not files and dtype.kind in "iu" and not bits:
        loudest = max((float(np.abs(samples.astype(np.float64)).max(initial=0)) for samples in some), default=0)
        bits = 16 if loudest <= 2**15 else 32
        notes.append(f"its samples are whole numbers, {dtype.name}, and are read as of {bits} bits")
    if not files and not stored:
        notes.append(f"it does not say its sampling rate, which is taken to be {rate} Hz (rate)")

    def sound(record: Any) -> Sound:
        held = record[feature]
        if files:
            return decode_sound(held)
        samples = np.asarray(held, np.float32).reshape(len(held), -1)
        if bits:
            whole = np.float32(2 ** (bits - 1))
            samples = (samples - (whole if dtype.kind == "u" else np.float32(0))) / whole
            if (most := np.abs(samples).max(initial=0)) > 1:
                raise CorruptSound(f"it has samples of {most * whole:.0f}, which are not of {bits} bits")
        return Sound(samples, stored or rate)

    def of(records: Any, where: str) -> Sounds:
        labels = _labels(records).astype(np.int32)
        return Sounds(lambda index: sound(records[index]), lambda index: f"{where} {index}", labels)

    return {split: of(*part) for split, part in parts.items()}, notes
