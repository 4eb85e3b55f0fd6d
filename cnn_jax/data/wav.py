"""wav(path=PATH), in short wav:PATH: sounds in one folder per class, as WAV, FLAC, OGG or MP3.

Either PATH/train/CLASS/*.wav, PATH/test/CLASS and PATH/validation/CLASS, or some of these, all with the same classes,
or PATH/CLASS/*.wav without splits, as `folder` has it for images. With `labels` the sounds lie anywhere below PATH, and
a CSV file says the classes of each: there may be several.
"""

from functools import partial
from pathlib import Path

import numpy as np

from cnn_jax.data.folder import Classes, class_files
from cnn_jax.data.rows import even_rows, rows_of
from cnn_jax.data.sound import SUFFIXES, CorruptSound, Sound, SoundPrepare, decode_sound
from cnn_jax.data.sounds import Sounds, sound_splits
from cnn_jax.data.source import Splits
from cnn_jax.data.splits import copies, digest_files
from cnn_jax.data.tree import SYNONYMS, LeftOut, Meant
from cnn_jax.paths import printable, written

MEANT = Meant(SUFFIXES, "sounds", "files whose names do not end as a sound's", "1.wav")
FILES = ("file", "filename", "file_name", "fname", "path")  # columns of a CSV file, the first that is there
LABELS = ("labels", "label", "tags", "category", "class")
SPLIT = ("split", "set")


def wav(
    path: str,
    *,
    rate: int = 16_000,
    seconds: float = 1.0,
    random: bool = False,
    labels: str = "",
    corrupt: str = "skip",
) -> Splits:
    """The splits "train", "validation" and "test" that there are, or "all" where there are none.

    Sounds are float32 [seconds x rate, 1] in [-1, 1].

    Args:
      path: of the folder.
      rate, seconds, random: see `SoundPrepare`.
      labels: a CSV file in the folder, with a column file (or filename, fname, path) of paths below the folder, with
        or without ending, and a column labels (or label, tags, category, class) of one or several classes, apart by
        ; or |. A column split with train, validation or test makes splits. Rows of more or fewer cells than the first
        line are left out and counted.
      corrupt: "skip" leaves sounds out that cannot be read, with a warning and a count; "error" stops at the first.

    Raises ValueError, in one line, for no such folder, and for classes, files or columns that do not fit.
    """
    root = written(path)
    if not root.is_dir():
        raise ValueError(
            f"wav:{printable(path)} is not a folder: give the path that holds train/CLASS or CLASS folders"
        )
    prepare = SoundPrepare(rate=rate, seconds=seconds, random=random)
    name = f"wav:{printable(path)}"
    opened = partial(
        sound_splits,
        prepare=prepare,
        name=name,
        licence="unknown (user data)",
        citation="",
        corrupt=corrupt,
    )
    if labels:
        classes, splits, files, notes = _listed(root, labels)
        return opened(splits, classes=classes, fingerprint=digest_files(root, files)[0], notes=notes)
    left = LeftOut(root)
    found = class_files(root, left, MEANT)
    classes = sorted(next(iter(found.values())))
    every = [file for files in found.values() for group in files.values() for file in group]
    fingerprint, contents = digest_files(root, every)
    places = [(split, file) for split, files in found.items() for group in files.values() for file in group]
    return opened(
        {split: _sounds(classes, files) for split, files in found.items()},
        classes=classes,
        fingerprint=fingerprint,
        notes=(*left.notes(), *copies(root, places, contents, "split", "sounds")),
    )


def _sounds(classes: list[str], files: Classes) -> Sounds:
    paths = [file for name in classes for file in files[name]]
    return of_files(paths, np.repeat(np.arange(len(classes), dtype=np.int32), [len(files[name]) for name in classes]))


def of_files(paths: list[Path], label: np.ndarray) -> Sounds:
    """The sounds of a list of files."""

    def load(index: int) -> Sound:
        try:
            data = paths[index].read_bytes()
        except OSError as error:
            raise CorruptSound(f"cannot read the sound ({error.strerror})") from error
        return decode_sound(data)

    return Sounds(load, lambda index: printable(paths[index]), label)


def _listed(root: Path, labels: str) -> tuple[list[str], dict[str, Sounds], list[Path], list[str]]:
    """(classes, splits, files, notes of what was left out) as a CSV file says them."""
    table = root / written(labels)
    where = f"'{printable(table)}'"
    (_, header), *rows = rows_of(table) or [(0, [])]
    even, notes = even_rows(rows, len(header), table)
    if not even:
        raise ValueError(f"{where} has no rows{f': {notes[0]}' if notes else ''}")
    file_column, label_column = (_column(where, header, known) for known in (FILES, LABELS))
    split_column = next((header.index(name) for name in SPLIT if name in header), None)
    known: dict[str, str] = {word: split for split, words in SYNONYMS.items() for word in words}
    entries: dict[str, list[tuple[Path, list[str]]]] = {}
    for number, row in even:
        tags = sorted({tag.strip() for tag in row[label_column].replace("|", ";").split(";")} - {""})
        split = "all" if split_column is None else known.get(row[split_column].strip().lower(), "")
        if split_column is not None and not split:
            raise ValueError(
                f"{where}, line {number}: the split '{printable(row[split_column])}' is none of {', '.join(known)}"
            )
        entries.setdefault(split, []).append((_file(root, row[file_column].strip(), f"{where}, line {number}"), tags))
    classes = sorted({tag for part in entries.values() for _, tags in part for tag in tags})
    several = any(len(tags) != 1 for part in entries.values() for _, tags in part)
    place = {name: number for number, name in enumerate(classes)}

    def label(part: list[tuple[Path, list[str]]]) -> np.ndarray:
        if not several:
            return np.array([place[tags[0]] for _, tags in part], np.int32)
        return np.array([[name in tags for name in classes] for _, tags in part], np.uint8)

    order = [split for split in ("train", "validation", "test", "all") if split in entries]
    splits: dict[str, Sounds] = {
        split: of_files([file for file, _ in entries[split]], label(entries[split])) for split in order
    }
    return classes, splits, [file for part in entries.values() for file, _ in part], notes


def _column(where: str, header: list[str], known: tuple[str, ...]) -> int:
    found = next((name for name in known if name in header), None)
    if found is None:
        raise ValueError(f"{where} has no column {' or '.join(known)}, but {', '.join(map(printable, header))}")
    return header.index(found)


def _file(root: Path, word: str, where: str) -> Path:
    for name in (word, *(f"{word}{suffix}" for suffix in SUFFIXES)):
        if word and (root / name).is_file():
            return root / name
    raise ValueError(f"{where}: there is no sound '{printable(word)}' in '{printable(root)}'")
