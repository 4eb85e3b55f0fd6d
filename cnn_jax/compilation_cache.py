"""Compiled programs kept on disk, so that the second start of anything is fast.

JAX can do that (its persistent compilation cache) but does not by default, never removes anything unless another
package is installed, and keeps what a killed process wrote in part: it would warn of that at every start. Here is where
the programs go, how many may stay, and that what cannot be read goes too.
"""

import hashlib
import os
import platform
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cnn_jax.paths import written

SETTING = "CNN_JAX_CACHE"  # environment variable: a folder, or 'off'
OF_JAX = "JAX_COMPILATION_CACHE_DIR"  # JAX's own variable: who sets it has JAX's behaviour, and we keep out of it
SETTINGS: dict[str, str | float] = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0.0,
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
}
LIMIT = 1_000_000_000  # bytes; a ResNet's training step takes some millions
CHECKED = ".checked"  # a file as old as the last look at what the programs' files hold
UNREADABLE, UNWRITABLE = "Error reading persistent compilation cache", "Error writing persistent compilation cache"
_said: set[str] = set()


class Kept(NamedTuple):
    """The compiled programs of a folder, whatever the CPU they were made for."""

    programs: int
    bytes: int


def turn_on() -> None:
    """Lets JAX keep what it compiles from now on, and tidies up; call it before anything is compiled.

    A folder that cannot be written is one warning and no cache.
    """
    folder = where()
    if folder is None or os.environ.get(OF_JAX):
        return
    mine = folder / _cpu()
    try:
        mine.mkdir(parents=True, exist_ok=True, mode=0o700)  # whoever may write here may run code as this user
        _remove_unreadable(mine)
        _trim(folder)
        (mine / CHECKED).touch()
    except OSError as error:
        said = f"compiled programs are not kept in '{mine}': {error.strerror}; {SETTING}=off ends this warning"
        warnings.warn(said, stacklevel=2)
        return
    settings = {OF_JAX: str(mine), **{name: value for name, value in SETTINGS.items() if name not in os.environ}}
    os.environ.update({name: str(value) for name, value in settings.items()})
    if jax := sys.modules.get("jax"):  # it has read the environment already
        for name, value in settings.items():
            jax.config.update(name.lower(), value)


def where() -> Path | None:
    """The folder above those of each kind of CPU, or None where the cache is turned off."""
    wish = os.environ.get(SETTING, "")
    if wish.lower() in ("off", "0", "no", "false"):
        return None
    if wish:
        return written(wish)
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return written(home) / "cnn_jax" / "compiled"


def kept(folder: Path) -> Kept:
    """How many programs there are, and how large they are together."""
    sizes = [stat.st_size for _, stat in _programs(folder)]
    return Kept(len(sizes), sum(sizes))


def is_news(warning: str) -> bool:
    """Whether a warning should be shown: JAX repeats those about its cache for every program.

    After one of a program that cannot be read, the next start looks at all of them.
    """
    kind = next((kind for kind in (UNREADABLE, UNWRITABLE) if warning.startswith(kind)), None)
    if kind == UNREADABLE and os.environ.get(OF_JAX):
        with suppress(OSError):
            (Path(os.environ[OF_JAX]) / CHECKED).unlink(missing_ok=True)
    if kind is None:
        return True
    known = kind in _said
    _said.add(kind)
    return not known


def _cpu() -> str:
    """Names the kind of CPU: a program made for one can crash on, or be slow on, another with the same home folder."""
    text = platform.processor()
    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n", 1)[0]
        known = ("model", "model name", "flags", "Features", "CPU part")
        text += "".join(line for line in first.splitlines() if line.split(":")[0].strip() in known)
    return f"{platform.machine()}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _programs(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.glob("**/*-cache"):
        with suppress(FileNotFoundError):  # another process tidies up too
            yield path, path.stat()


def _remove_unreadable(folder: Path) -> None:
    """Removes what a kill or a full disk left in part: JAX would neither use it nor write it anew."""
    checked = folder / CHECKED
    since = checked.stat().st_mtime if checked.exists() else 0
    for path, stat in _programs(folder):
        if stat.st_mtime >= since and not _is_whole(path):
            path.unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    data = path.read_bytes()
    if data[:1] != b"\x78":  # not zlib's: zstandard is installed, which finds out by itself what is cut off
        return bool(data)
    try:
        zlib.decompress(data)
    except zlib.error:
        return False
    return True


def _trim(folder: Path) -> None:
    """Removes the least recently used programs, to the day, while all together are larger than LIMIT."""
    programs = sorted(_programs(folder), key=lambda program: max(program[1].st_atime, program[1].st_mtime))
    total = sum(stat.st_size for _, stat in programs)
    for path, stat in programs:
        if total <= LIMIT:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size
