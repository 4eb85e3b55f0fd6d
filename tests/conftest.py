"""Eight simulated devices, and one compilation cache for all tests of a session and the processes they start.

Also: how long is fuzzed (`--hypothesis-profile`), and `deeds`, which sees what code does to the rest of the machine.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings

# Test programs run a few times: to optimise them would take twice the time. With CNN_JAX_TEST_OPTIMISED=1 they are
# compiled as in use, as .ci/run does for those tests that compare bits.
QUICK = ("--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true")
_flags = () if "CNN_JAX_TEST_OPTIMISED" in os.environ else QUICK
os.environ["XLA_FLAGS"] = " ".join(("--xla_force_host_platform_device_count=8", *_flags))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Read when JAX is imported; xdist's workers and child processes inherit them. The folder goes when the session ends.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="jax-cache-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# tests/fuzz/conftest.py says how often these are drawn; `pytest tests/fuzz --hypothesis-profile=hour` takes an hour.
_common = dict(deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("ci", max_examples=100, **_common)  # type: ignore[arg-type]
settings.register_profile("hour", max_examples=1000, **_common)  # type: ignore[arg-type]
settings.load_profile("ci")


WATCHED = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request", "ctypes.dlopen", "pickle.find_class"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate"),
    *("shutil.rmtree", "shutil.move", "shutil.copyfile"),
)
ROOT = str(Path(__file__).parents[1])
_listeners: list[Callable[[str, tuple[Any, ...]], None]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for listener in _listeners:
        listener(event, arguments)


class Deeds:
    """What was done within `with`: (event, its first argument) of WATCHED, and of files opened for writing or not."""

    def __enter__(self) -> "Deeds":
        self.done: list[tuple[str, str]] = []
        self.read: list[str] = []
        _listeners.append(self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        _listeners.remove(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            (self.done.append(("write", str(path))) if writes else self.read.append(str(path)))
        elif event == "exec" and not arguments[0].co_filename.startswith(("<", sys.prefix, sys.base_prefix, ROOT)):
            self.done.append((event, arguments[0].co_filename))  # a file that is no module of what is installed here
        elif event in WATCHED:
            self.done.append((event, str(arguments[0] if arguments else "")))

    def outside(self, folder: Path) -> list[tuple[str, str]]:
        """What was done but for files written, made, renamed or removed within `folder`, as the system sees it."""
        own = os.path.realpath(folder)
        inside = ("write", "os.mkdir", "os.rename", "os.remove")
        return [
            (event, what)
            for event, what in self.done
            if event not in inside or os.path.commonpath([own, os.path.realpath(what)]) != own
        ]


@pytest.fixture(scope="session")
def deeds() -> type[Deeds]:
    """with deeds() as seen: ...; seen.done then holds what the code within has done to the rest of the machine."""
    if not getattr(sys, "_deeds_are_heard", False):
        sys.addaudithook(_hook)
        sys._deeds_are_heard = True  # type: ignore[attr-defined]
    return Deeds


class Said(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def launch(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """launch("train", path, ...) as the command line would do it."""
    from cnn_jax.launch import cli  # after the settings above

    def call(*words: object) -> Said:
        capsys.readouterr()
        return Said(cli.main([str(word) for word in words]), *capsys.readouterr())

    return call
