"""What only Linux or only Unix has, taken away: macOS and Windows are not here to be tried."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cnn_jax.train import checkpoint, run_folder

ROOT = Path(__file__).parents[1]
WITHOUT = """
import os, signal, sys
sys.modules["fcntl"] = None  # importing it fails
del os.sched_getaffinity
for name in ("SIGHUP", "SIGPIPE", "SIGUSR1"):
    delattr(signal, name)
sys.argv = ["launch.py", *sys.argv[1:]]
exec(compile(open("launch.py", encoding="utf-8").read(), "launch.py", "exec"))
"""


@pytest.mark.parametrize("words", [("--help",), ("list",), ("train", "--help"), ("predict", "nowhere", "a.png")])
def test_commands_start_without_what_only_linux_has(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", WITHOUT, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and done.returncode == (2 if "nowhere" in words else 0), done.stderr


def test_a_run_is_held_by_one_process_on_windows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: set[int] = set()

    def locking(descriptor: int, mode: int, count: int) -> None:
        assert (mode, count) == (2, 1)
        inode = os.fstat(descriptor).st_ino
        if inode in held:
            raise OSError(errno.EACCES, "Permission denied")
        held.add(inode)

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with run_folder.opened(tmp_path / "run"):
        with pytest.raises(ValueError, match="another process is training"), run_folder.opened(tmp_path / "run"):
            pass
        with run_folder.opened(tmp_path / "other"):
            pass


def test_a_disk_without_locks_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.warns(UserWarning, match="No locks available"), run_folder.opened(tmp_path / "run"):
        pass


def test_checkpoints_are_sealed_where_folders_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "state").write_text("x")
    monkeypatch.delattr(os, "O_DIRECTORY")
    checkpoint._seal(tmp_path, 7)
    assert checkpoint.is_good(tmp_path, 7)
