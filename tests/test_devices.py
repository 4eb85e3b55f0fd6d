"""What is arranged for the cores and the memory of a CPU."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from jax._src.dispatch import BACKEND_COMPILE_EVENT

from cnn_jax import devices
from cnn_jax.devices import (
    COUNT,
    HUGE_PAGES,
    LEAST_MEMORY,
    ON_REQUEST,
    SCHEDULER,
    TUNABLES,
    give_back_memory_of_compilers,
    set_xla_flags,
)

SCRIPT = """
import os, sys
print("started")
from cnn_jax.devices import ask_for_huge_pages
ask_for_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:])
"""


def run(tunables: str | None) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != TUNABLES}
    if tunables is not None:
        environment[TUNABLES] = tunables
    command = [sys.executable, "-c", SCRIPT, "two words", "--flag"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_process_starts_again_once_with_the_same_words() -> None:
    on_request = ON_REQUEST.is_file() and "[madvise]" in ON_REQUEST.read_text()
    words = "['two words', '--flag']"
    other = "glibc.malloc.arena_max=2"
    if on_request:
        assert run(None) == ["started", "started", f"{HUGE_PAGES} {words}"]
        assert run(other) == ["started", "started", f"{other}:{HUGE_PAGES} {words}"]
    else:
        assert run(None) == ["started", f"None {words}"]


def test_a_wish_of_the_user_stands() -> None:
    assert run("glibc.malloc.hugetlb=0") == ["started", "glibc.malloc.hugetlb=0 ['two words', '--flag']"]


def test_flags_of_the_user_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = f"{COUNT}={devices.cores()}"
    order = f"{SCHEDULER}={LEAST_MEMORY}"
    for given, meant in (
        ("", f"{cores} {order}"),
        (f"{COUNT}=3", f"{COUNT}=3 {order}"),
        (f"{SCHEDULER}=A", f"{SCHEDULER}=A {cores}"),
    ):
        monkeypatch.setenv("XLA_FLAGS", given)
        set_xla_flags()
        set_xla_flags()
        assert os.environ["XLA_FLAGS"] == meant


def test_memory_is_given_back_after_a_long_compilation_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    library = SimpleNamespace(malloc_trim=calls.append)
    monkeypatch.setattr("cnn_jax.devices.ctypes.CDLL", lambda name: library)
    monkeypatch.setattr("sys.platform", "linux")
    give_back_memory_of_compilers.__wrapped__()
    for event, seconds in ((BACKEND_COMPILE_EVENT, 0.5), ("/something/else", 2.0), (BACKEND_COMPILE_EVENT, 2.0)):
        jax.monitoring.record_event_duration_secs(event, seconds)
    assert calls == [0]


def test_the_cores_of_a_container_are_its_quota(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    maximum, quota, period = (tmp_path / name for name in ("max", "quota", "period"))
    monkeypatch.setattr(devices, "QUOTAS", ((maximum,), (quota, period)))
    assert devices.cores() == 8
    for text, count in (("max 100000", 8), ("150000 100000", 2), ("1000 100000", 1), ("1600000 100000", 8), ("x", 8)):
        maximum.write_text(text)
        assert devices.cores() == count
    for text, count in (("-1", 8), ("300000", 3)):
        quota.write_text(text)
        period.write_text("100000")
        assert devices.cores() == count


def test_only_linux_says_which_cores_a_process_is_bound_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(devices, "QUOTAS", ())
    for count, expected in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert devices.cores() == expected


def test_the_memory_of_a_container_is_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devices, "MEMORY", tmp_path / "memory.max")
    whole = devices.memory()
    assert whole > 2**28
    for text, expected in (("1000000\n", 1_000_000), ("max\n", whole), (str(2**62), whole)):
        devices.MEMORY.write_text(text)
        assert devices.memory() == expected
    monkeypatch.delattr(os, "sysconf")
    assert devices.memory() == 2**62
