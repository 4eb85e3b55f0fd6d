"""A kill between any two file operations of saving, sealing, removing and opening costs no checkpoint that was sealed.

What a kill leaves behind is the folder as it is at that moment, so a copy is made before each operation, and opened.
"""

import io
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import optax
import pytest

from cnn_jax.train import checkpoint
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.state import State, create

OPERATIONS = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir")


def state_of(value: float) -> State:
    return create({"params": {"kernel": jnp.full((3, 4), value)}}, optax.sgd(0.1), ema=False, loss_scale=False)


class Moments:
    """Copies of `folder` from before each file operation in it, those that look alike once."""

    def __init__(self, folder: Path, copies: Path) -> None:
        self.folder, self.copies, self.seen = folder, copies, dict[Any, Path]()
        self.lock = threading.RLock()

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            mode = (*args, *kwargs.values())[1] if function is OPEN and len(args) + len(kwargs) > 1 else "r"
            inside = str(args[0]).startswith(str(self.folder)) or kwargs.get("dir_fd") is not None
            if inside and (function is not OPEN or any(letter in str(mode) for letter in "wax+")):
                self.look()
            return function(*args, **kwargs)

        return call

    def look(self) -> None:
        with self.lock:
            copy = self.copies / str(len(self.seen))
            try:
                found = {path: path.stat() for path in sorted(self.folder.rglob("*"))}
                key = tuple((path, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found.items())
                if key not in self.seen:
                    shutil.copytree(self.folder, copy, copy_function=shutil.copyfile)
                    self.seen[key] = copy
            except (shutil.Error, FileNotFoundError):  # another thread, of Orbax, removes a file of its own just now
                shutil.rmtree(copy, ignore_errors=True)


OPEN = io.open


def saved(folder: Path, steps: range, keep: int) -> None:
    checkpoints = Checkpoints(folder, keep=keep)
    for step in steps:
        checkpoints.save(step, state_of(step), {"step": step}, None)
    checkpoints.finish()
    checkpoints.close()


@pytest.mark.parametrize("keep", [1, 2, 10])
def test_there_is_a_sealed_checkpoint_at_every_moment(keep: int, tmp_path: Path) -> None:
    folder, copies = tmp_path / "run", tmp_path / "copies"
    folder.mkdir()
    copies.mkdir()
    saved(folder, range(1, 3), keep)
    (folder / "2" / ".DS_Store").write_bytes(b"\xff")
    # Damage at the top, something set aside long ago, and what a kill left behind: opening has work to do.
    shutil.copytree(folder / "2", folder / "3")
    shutil.copytree(folder / "2", folder / "bad-1")
    (folder / "0.sha256").write_text("of what is gone")
    moments = Moments(folder, copies)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in OPERATIONS:
            patch.setattr(os, name, moments.watched(getattr(os, name)))
        patch.setattr(io, "open", moments.watched(OPEN))
        saved(folder, range(4, 6), keep)
    moments.look()
    assert checkpoint.steps(folder) == [5, 4, 2, 1][: keep if keep < 10 else 4] and len(moments.seen) > 20
    assert not (folder / "bad-1").exists() and (folder / "bad-3").is_dir()
    newest = 2
    for copy in moments.seen.values():
        found = checkpoint.newest_good(copy)
        assert found is not None and found >= newest, copy
        newest = found
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint.put_in_order(copy)
        assert checkpoint.newest_good(copy) == found == checkpoint.steps(copy)[0], copy
        assert not list(copy.glob("removed-*")) and not list(copy.glob("*tmp*"))
    assert newest == 5
