"""launch.py plan: what a training would take on many devices, without them."""

import os
import subprocess
import sys

import pytest

from cnn_jax.commands import plan
from cnn_jax.launch import cli

PARAMETERS = 64 * 16 + 16 + 16 * 10 + 10  # of the network in the project


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process, with its eight devices, is the one that compiles."""
    monkeypatch.setenv(plan.SIMULATED, "8")


def lines(text: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in text.splitlines() if line[:1].isalpha())


def test_data_parallel_training_sends_its_gradients(project, launch, simulated) -> None:
    words = ("plan", "experiments/tiny.py", "--devices=8")
    said = launch(*words, "--tflops=1e-6", "--link=0.001")
    found = lines(said.out)
    assert said.code == 0 and said.err == "" and said.out.startswith("tiny on 8 devices, jit, float32: 2 images each")
    assert found["memory"].endswith("of 80 GB a device (0%): fits")
    assert found["parameters"].startswith(f"{PARAMETERS:,} (")
    # The gradients, and beside them no more than a few numbers of metrics.
    kind, size, unit = found["collectives"].split()
    assert (kind, unit) == ("all-reduce", "kB") and 0 <= float(size) - 4 * PARAMETERS / 1e3 < 0.05
    sends = said.out.split("each device sends ")[1].split()[0]
    assert float(sends) == pytest.approx(2 * 7 / 8 * 4 * PARAMETERS / 1e3, rel=0.02)
    # 2 of 16 images, whose step takes 2 x 1184 + 160 multiply-adds each, at 1e6 operations a second.
    assert found["computation"].startswith(
        f"{2 * (2 * 1184 + 160) / 1e3:.3g} k multiply-adds a device and step: 10.1 ms"
    )
    assert found["communication"].startswith("8.") and found["communication"].endswith(" ms at 0.001 GB/s")
    assert found["efficiency"].startswith("5") and "100% where both overlap" in found["efficiency"]
    small = launch(*words, "--memory=1e-3", "--config.data.batch_size=512", "--config.model.build.hidden=16")
    assert small.code == cli.BAD_INPUT  # no such field


def test_what_does_not_fit_is_said_by_the_exit_code(project, launch, simulated) -> None:
    said = launch("plan", "experiments/tiny.py", "--devices=8", "--parallel=fsdp", "--memory=0.001", *BATCH)
    assert said.code == plan.DOES_NOT_FIT and ": does not fit" in said.out
    assert "all-gather" in said.out and "an upper bound for fsdp" in said.out


BATCH = ("--config.data.batch_size=32768",)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--devices=8"], "say which experiment, and for how many devices"),
        (["experiments/tiny.py"], "say which experiment, and for how many devices"),
        (["experiments/tiny.py", "--devices=0"], "--devices=0"),
        (["experiments/tiny.py", "--devices=8", "--config.data.batch_size=12"], "does not divide over 8 devices"),
        (["experiments/tiny.py", "--devices=8", "--config.compute.parallel=pmap"], "a plan is for jit or fsdp"),
        (["experiments/tiny.py", "--devices=8", "--config.optim.rate=1"], "unknown field 'config.optim.rate'"),
        (["experiments/tinny.py", "--devices=8"], "did you mean 'tiny'"),
    ],
)
def test_what_cannot_be_planned_is_one_line(words: list[str], text: str, project, launch, simulated) -> None:
    said = launch("plan", *words)
    assert said.code == cli.BAD_INPUT and text in said.err and said.err.count("\n") == 1


def test_the_plan_is_made_in_a_process_of_its_own(project, launch, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(subprocess, "call", lambda command, env: called.append((command, env)) or 4)
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_dump_to=x")
    monkeypatch.setattr(sys, "argv", ["/bin/cnn_jax", "ignored"])
    assert launch("plan", "experiments/tiny.py", "--devices=64").code == 4
    (command, environment), *others = called
    assert not others and command[0] == sys.executable
    assert command[3:] == ["/bin/cnn_jax", "plan", "experiments/tiny.py", "--devices=64"]
    flags = environment["XLA_FLAGS"].split()
    assert "--xla_force_host_platform_device_count=64" in flags and "--xla_dump_to=x" in flags
    assert environment["JAX_PLATFORMS"] == "cpu" and environment[plan.SIMULATED] == "64"
    assert os.environ.get(plan.SIMULATED) is None
