"""The pictures that runs have drawn of themselves, as bytes that a page can hold."""

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cnn_jax.report.runs import Run
from cnn_jax.train import run_folder

ROOM = 8_000_000  # bytes of the pictures of a page; base64 makes a third more of them
LARGEST = 3_000_000  # bytes of one
PIXELS = 50_000_000  # of one: what a browser unpacks of it takes four bytes each
MOST = 20  # of one run
FIRST = ("confusion_matrix.png", "gallery.png")
NOT_SHOWN = ("learning_curves.png", "report.png")  # which the page draws itself
PNG = b"\x89PNG\r\n\x1a\n"


class Picture(NamedTuple):
    """A picture of a run; content: its bytes, None where there was no room for it."""

    path: Path
    content: bytes | None


def pictures(runs: Iterable[Run], room: int = ROOM) -> Iterator[tuple[Run, list[Picture]]]:
    """The pictures of each run in its folder of figures, in the order of the runs, the first as long as there is room.

    Only PNG files of the run's own, behind no link: the page may be sent on, and a stranger's run folder could name any
    file of this machine. One that is no PNG, or larger than the limits above, has no content either.
    """
    for run in runs:
        folder = run.folder / run_folder.FIGURES
        found = []
        for name in _names(folder):
            content = _content(folder / name, min(room, LARGEST))
            room -= len(content or b"")
            found.append(Picture(folder / name, content))
        yield run, found


def _names(folder: Path) -> list[str]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        own = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    names = sorted(name for name in own if name.endswith(".png") and name not in NOT_SHOWN)
    return sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))[:MOST]


def _content(path: Path, room: int) -> bytes | None:
    try:
        if path.stat().st_size > room:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) < 24 or not content.startswith(PNG):
        return None
    width, height = struct.unpack(">II", content[16:24])
    return content if 0 < width * height <= PIXELS else None
