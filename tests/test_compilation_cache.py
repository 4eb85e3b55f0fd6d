"""Compiled programs on disk: found again by the next process, bounded, healed, and never a reason to fail."""

import os
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import pytest

from cnn_jax import compilation_cache as cache
from cnn_jax.launch import cli

# A step over two devices and one of a program over both, whose parameters are sharded.
SCRIPT = """
import sys, warnings
from cnn_jax import compilation_cache
from cnn_jax.devices import set_xla_flags
from cnn_jax.launch import cli
set_xla_flags()
warnings.showwarning = cli._show_warning
compilation_cache.turn_on()
import hashlib, jax, numpy as np
from cnn_jax.data.spec import Field
from cnn_jax.ops.convolution import convolution
from cnn_jax.train import mesh
from cnn_jax.ops.batch_axis import mean_over_devices

found = {"hits": 0, "misses": 0}
def listen(event, **_):
    for name in found:
        found[name] += event.endswith("cache_" + name)
jax.monitoring.register_event_listener(listen)

def loss(kernel, x):
    return (convolution(x, kernel, padding=1) ** 2).mean()

def step(kernel, batch, key):
    value, gradient = mean_over_devices(jax.value_and_grad(loss)(kernel, batch["image"]))
    return kernel - gradient + 0 * jax.random.normal(key), {"loss": value}

kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 32)).astype(np.float32)
fields = {"image": Field("image", (6, 6, 4), "float32")}
image = np.random.default_rng(1).normal(size=(4, 6, 6, 4)).astype(np.float32)
digest = hashlib.sha256()
for parallel in ("jit", "fsdp"):
    key = jax.random.key(int(sys.argv[1]))
    engine = mesh.build(step, kernel, key, fields, parallel=parallel, devices=jax.devices())
    state, fetch = engine.step(engine.place(kernel), engine.place_batch({"image": image}))
    digest.update(np.asarray(state).tobytes() + np.asarray(fetch()["loss"]).tobytes())
print(found["hits"], found["misses"], digest.hexdigest())
"""


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a user's machine: no variable says anything; what is set here is gone after the test."""
    for name in (cache.SETTING, cache.OF_JAX, *cache.SETTINGS):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "_said", set())
    monkeypatch.setitem(sys.modules, "jax", None)  # its settings are those of all tests


@pytest.fixture
def folder(nothing_set: None) -> Path:
    """The folder in use, with three programs of 1,000 bytes or more, the first the oldest."""
    cache.turn_on()
    folder = Path(os.environ[cache.OF_JAX])
    for age, name in enumerate(("c", "b", "a")):
        path = folder / f"{name}-cache"
        path.write_bytes(zlib.compress(os.urandom(1000)))
        os.utime(path, (path.stat().st_mtime + 86400 * (1 - age),) * 2)
    return folder


def programs(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix("-cache") for path in folder.glob("*-cache"))


def again(folder: Path) -> list[str]:
    """What is left when the next process has started."""
    del os.environ[cache.OF_JAX]
    cache.turn_on()
    return programs(folder)


def test_the_next_process_compiles_nothing_and_computes_the_same_bits(tmp_path: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name not in (cache.OF_JAX, *cache.SETTINGS)}
    variables |= {cache.SETTING: str(tmp_path), "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}

    def run(seed: int = 0) -> tuple[int, int, str, str]:
        command = [sys.executable, "-c", SCRIPT, str(seed)]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        hits, misses, digest = done.stdout.split()
        return int(hits), int(misses), digest, done.stderr

    hits, misses, cold, said = run()
    assert hits == 0 and misses >= 2 and said == ""
    assert run(seed=1) == (misses, 0, cold, "")
    largest = max(tmp_path.glob("*/jit_*-cache"), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    os.utime(largest, (1, 1))  # damaged long after it was written
    hits, misses, digest, said = run()
    assert digest == cold and said.startswith("warning: Error reading") and len(said.splitlines()) == 1
    assert run()[2:] == (cold, "") and run()[1:] == (0, cold, "")


@pytest.mark.parametrize("wish", ["off", "OFF", "0"])
def test_it_can_be_turned_off(wish: str, nothing_set: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.SETTING, wish)
    cache.turn_on()
    assert cache.OF_JAX not in os.environ and not list(tmp_path.iterdir())


def test_the_folder_is_the_users_alone_and_of_this_kind_of_cpu(folder: Path, tmp_path: Path) -> None:
    assert folder.parent == tmp_path / "cnn_jax" / "compiled" and folder.name.startswith(os.uname().machine)
    assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_may_be_named(nothing_set: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.SETTING, str(tmp_path / "mine"))
    cache.turn_on()
    assert Path(os.environ[cache.OF_JAX]).parent == tmp_path / "mine"


def test_a_setting_of_jax_stands(nothing_set: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.OF_JAX, "elsewhere")
    cache.turn_on()
    assert os.environ[cache.OF_JAX] == "elsewhere" and not list(tmp_path.iterdir())


def test_a_home_that_cannot_be_written_is_one_warning(
    nothing_set: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(
        UserWarning, match=r"^compiled programs are not kept in '.*': Not a directory; CNN_JAX_CACHE=off"
    ):
        cache.turn_on()
    assert cache.OF_JAX not in os.environ


def test_what_was_used_least_recently_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert again(folder) == ["a", "b", "c"]
    monkeypatch.setattr(cache, "LIMIT", 2500)
    assert again(folder) == ["b", "c"]
    monkeypatch.setattr(cache, "LIMIT", 0)
    assert again(folder) == []


def test_what_a_kill_left_in_part_is_removed(folder: Path) -> None:
    for name, size in (("c", 500), ("b", 0)):
        path = folder / f"{name}-cache"
        path.write_bytes(path.read_bytes()[:size])
    assert again(folder) == ["a"]


def test_old_programs_are_looked_at_only_after_one_could_not_be_read(folder: Path) -> None:
    path = folder / "a-cache"
    times = path.stat().st_mtime - 1000
    path.write_bytes(path.read_bytes()[:500])
    os.utime(path, (times, times))
    assert again(folder) == ["a", "b", "c"]
    assert cache.is_news(f"{cache.UNREADABLE} entry for 'jit_step'")
    assert again(folder) == ["b", "c"]


def test_jax_may_complain_once(
    nothing_set: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def complain(_: object) -> int:
        for text in (f"{cache.UNWRITABLE} 'a'\nb", f"{cache.UNWRITABLE} 'c'", "x", f"{cache.UNREADABLE} 'a'", "y"):
            warnings.warn(text, stacklevel=1)
        return 0

    monkeypatch.setattr("cnn_jax.commands.list.run", complain)
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {cache.UNWRITABLE} 'a' b",
        "warning: x",
        f"warning: {cache.UNREADABLE} 'a'",
        "warning: y",
    ]
