"""Arrays that take long to make, kept on disk for the next time."""

import hashlib
import json
import os
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnn_jax.paths import printable, written

Arrays = dict[str, np.ndarray]


def kept_on_disk(name: str, made_of: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """What `make` returns, read from the disk where it was made of the same before.

    It is kept in $XDG_CACHE_HOME/cnn_jax/data, by default ~/.cache/cnn_jax/data, which may be removed at any time. What
    cannot be read is made again, and what cannot be written is made each time; a warning says so.

    Args:
      name: what it is called.
      made_of: all that it depends on, as JSON has it: settings, the fingerprint of its parts, a version of the code.
      make: the function that makes it.
    """
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    file = written(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "cnn_jax" / "data" / f"{name}-{key}.npz"
    try:
        with np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        warnings.warn(f"'{printable(file)}' cannot be read ({reason}) and is made again", stacklevel=2)
    start = time.perf_counter()
    arrays = make()
    spent = time.perf_counter() - start
    try:
        _write(file, arrays)
        megabytes = file.stat().st_size / 1e6
        warnings.warn(
            f"{name}: made in {spent:.0f} s and kept in '{printable(file)}', {megabytes:,.0f} MB", stacklevel=2
        )
    except OSError as error:
        warnings.warn(f"{name}: made in {spent:.0f} s, not kept: '{printable(file)}' ({error.strerror})", stacklevel=2)
    return arrays


def _write(file: Path, arrays: Arrays) -> None:
    """All or nothing: another process may do the same, and this one be killed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        with part.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
