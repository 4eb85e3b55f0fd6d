"""Files of sets that are installed or that their user has put into the folder $CNN_JAX_DATA."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from cnn_jax.paths import written


def found(
    *, own: tuple[str, ...] = (), package: str = "", inside: str = "", system: tuple[str, ...] = ()
) -> Path | None:
    """The first that there is: `own` below $CNN_JAX_DATA, `inside` the folder of a Python package, which is not
    imported, or one of the whole paths `system`; None where there is none."""
    return next((path for path in _places(own, package, inside, system) if path.exists()), None)


def _places(own: tuple[str, ...], package: str, inside: str, system: tuple[str, ...]) -> Iterator[Path]:
    if folder := os.environ.get("CNN_JAX_DATA"):
        yield from (written(folder) / name for name in own)
    spec = importlib.util.find_spec(package) if package else None
    if spec and spec.origin:
        yield Path(spec.origin).parent / inside
    yield from map(Path, system)
