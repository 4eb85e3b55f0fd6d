"""Two processes give the numbers of one; they stop together, and go on on other devices.

What else may happen to them, and other kinds of tasks: experiments/benchmarks/processes.py.
"""

import json
import multiprocessing
import runpy
import shutil
import socket
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.launch import cli
from cnn_jax.report import classify as report
from cnn_jax.report import log
from cnn_jax.train import checkpoint

CHILD = str(Path(__file__).with_name("joined_run.py"))
STOP = 7
TINY = """
from functools import partial
from cnn_jax.augment.geometry import flip
from cnn_jax.config import Compute, Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.digits import digits
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.classify import classify
from cnn_jax.train.optim import sgd
from cnn_jax.train.schedules import cosine

def experiment():
    return Experiment(
        name="tiny",
        data=Data(source=digits, batch_size=16),
        model=Model(build=partial(small_cnn, features=(8,), hidden=16, dropout=0.3), task=classify),
        optim=Optim(build=sgd, lr=0.05, schedule=cosine),
        augment=flip,
        duration="16 steps", save_every="4 steps", log_every="1 steps", keep=9,
        evaluate=Evaluate(every="6 steps", batch_size=128, outputs=True),
        compute=Compute(devices=8, convolution="native"),
    )
"""


def command(file: Path, folder: Path, *words: str) -> list[str]:
    return ["train", str(file), f"--workdir={folder}", *words]


def facts(folder: Path) -> dict[str, float]:
    """Losses by step and split, and final scores."""
    rows = {f"{row['split']} {row['step']}": row["loss"] for row in log.read(folder)}
    test = json.loads((folder / "results.json").read_text())["test"]
    return {**rows, **{name: value for name, value in test.items() if isinstance(value, float)}}


def start(commands: list[list[str]], output: Path, devices: int, stop: int) -> list[BaseProcess]:
    """Two processes; the second of them gets a signal after the step `stop` of the last command."""
    context: ForkServerContext = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cnn_jax.launch.training", "cnn_jax.commands.train", "sklearn.datasets"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started = []
    for rank in range(2):
        settings = ((rank, 2, address), devices, commands, stop * rank, str(output.with_suffix(f".{rank}")))
        started.append(
            context.Process(
                target=runpy.run_path, args=(CHILD,), kwargs={"init_globals": {"SETTINGS": settings}}, daemon=True
            )
        )
        started[-1].start()
    return started


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.py"
    path.write_text(TINY)
    return path


def cut_off(run: Path, copy: Path, step: int) -> Path:
    """A copy of a run as it was after the checkpoint of `step`."""
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("results.json", "outputs"))
    for later in checkpoint.steps(copy / "checkpoints"):
        if later > step:
            shutil.rmtree(copy / "checkpoints" / str(later))
    return copy


def test_two_processes_are_as_one_and_stop_together_and_go_on_elsewhere(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints of eight devices go on in two processes of two devices: one to its end, one is stopped."""
    monkeypatch.setattr(report, "figures", lambda *_: None)
    one = tmp_path / "one"
    assert cli.main(command(tiny, one)) == 0
    whole, run = (cut_off(one, tmp_path / f"from-{step}", step) for step in (12, 4))
    elsewhere = ("--config.compute.devices=4", "--config.compute.parallel=fsdp")
    started = start([command(tiny, folder, *elsewhere) for folder in (whole, run)], tmp_path / "output", 2, STOP)
    for process in started:
        process.join(300)
    said = [(tmp_path / f"output.{rank}").read_text() for rank in range(2)]
    assert [process.exitcode for process in started] == [75, 75], said

    assert facts(whole) == pytest.approx(facts(one), rel=1e-5)
    for file in sorted((one / "outputs").glob("*.npy")):
        found, expected = np.load(whole / "outputs" / file.name), np.load(file)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert "going on from step 12" in said[0] and "[Gloo]" not in said[0]
    assert "goes on elsewhere (compute.devices: 8 -> 4; compute.parallel: jit -> fsdp)" in said[0]
    # The signal came to the second process: both have saved the same step.
    step = checkpoint.newest_good(run / "checkpoints")
    assert step in (STOP, STOP + 1, STOP + 2) and not (run / "results.json").exists()
    assert all(f"stopped at step {step} of 16, which is saved" in text for text in said)
    assert [row["step"] for row in log.read(run) if row["split"] == "validation"] == [6]
    assert cli.main(command(tiny, run, "--config.compute.devices=1")) == 0
    assert facts(run) == pytest.approx(facts(one), rel=1e-5)
