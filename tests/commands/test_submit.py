"""Jobs of SLURM: the file that is written, and with a real SLURM, where there is one, what becomes of a training."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cnn_jax.launch import cli
from cnn_jax.report import log
from tests.commands import real_slurm
from tests.commands.test_going_on import plain

ROOT, TINY = Path(__file__).parents[2], "experiments/tiny.py"
SBATCH = """#!/bin/bash
[ "$(basename "$2")" = bad.sbatch ] && { echo "sbatch: error: invalid partition" >&2; exit 1; }
echo "$@" > asked
echo "17;cluster"
"""


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name, which submits nothing."""
    path = tmp_path / "bin" / "sbatch"
    path.parent.mkdir()
    path.write_text(SBATCH)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


def test_the_job_is_written_and_submitted(project: Path, launch: Callable, sbatch: None) -> None:
    words = ("submit", TINY, "--slurm.time=1:00:00", "--slurm.exclusive", "--slurm.job-name=mine")
    said = launch(*words, "--config.optim.lr=0.1", "--workdir=my runs/a", "--restarts", "2")
    assert (said.code, said.err) == (0, "")
    assert said.out == "job 17, by my runs/a.sbatch: what it prints is added to my runs/a.slurm.log\n"
    assert (project / "asked").read_text() == "--parsable my runs/a.sbatch\n"
    text = (project / "my runs" / "a.sbatch").read_text()
    for line in (
        "--time=1:00:00",
        "--exclusive",
        "--job-name=mine",
        "--requeue",
        "--signal=TERM@120",
        "--open-mode=append",
    ):
        assert f"#SBATCH {line}\n" in text
    assert f"#SBATCH --output={project}/my runs/a.slurm.log\n" in text and text.count("--job-name") == 1
    started = next(line for line in text.splitlines() if line.startswith("srun "))
    assert started.endswith(f" train {TINY} --config.optim.lr=0.1 '--workdir=my runs/a'") and sys.executable in started
    assert "--submit" not in started and "-lt 2 ]" in text and f"cd {project} ||" in text
    assert subprocess.run(["bash", "-n", project / "my runs" / "a.sbatch"]).returncode == 0


@pytest.mark.parametrize(
    ("code", "restarted", "requeued"), [(0, 0, False), (75, 9, True), (76, 1, True), (76, 3, False), (2, 0, False)]
)
def test_a_job_queues_again_where_that_helps(
    code: int, restarted: int, requeued: bool, project: Path, launch: Callable, tmp_path: Path
) -> None:
    assert (
        launch("submit", TINY, "--nosubmit").out == "written to runs/tiny.sbatch: sbatch runs/tiny.sbatch submits it\n"
    )
    for name, text in (("srun", f"exit {code}"), ("scontrol", f"echo $@ > {tmp_path}/again")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "5", "SLURM_RESTART_COUNT": str(restarted)}
    done = subprocess.run(["bash", "runs/tiny.sbatch"], env={**os.environ, **own}, cwd=project)
    assert done.returncode == code and (tmp_path / "again").exists() == requeued
    if requeued:
        assert (tmp_path / "again").read_text() == "requeue 5\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((TINY, "--workdir=bad"), "SLURM refuses 'bad.sbatch': sbatch: error: invalid partition"),
        ((TINY, "--fresh"), "--fresh would begin anew each time"),
        ((TINY, "--processes=4"), "say --slurm.ntasks=4"),
        ((TINY, "--slurm.a/b=4"), "is no option of sbatch: write --slurm.NAME=VALUE"),
        ((TINY, "--config.optim.rate=4"), "unknown field 'config.optim.rate'"),
        (("--slurm.time=5",), "say which experiment"),
        (("experiments/tinny.py",), "did you mean"),
    ],
)
def test_what_cannot_be_submitted_is_one_line(
    words: tuple[str, ...], says: str, project: Path, launch: Callable, sbatch: None
) -> None:
    said = launch("submit", *words)
    assert said.code == cli.BAD_INPUT and says in said.err and said.err.count("\n") == 1


def test_without_slurm_it_is_said(project: Path, launch: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    said = launch("submit", TINY)
    assert said.code == 2 and "there is no sbatch here: give it 'runs/tiny.sbatch' where SLURM is" in said.err


@pytest.mark.skipif(bool(real_slurm.missing()), reason=real_slurm.missing())
def test_a_job_makes_room_and_ends_as_one_that_was_left_alone(
    project: Path, launch: Callable, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tasks of a real SLURM; another job takes their place."""
    monkeypatch.setattr(sys, "argv", [str(ROOT / "launch.py")])
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1"))
    often = ("--config.duration=3000 steps", "--config.save_every=200 steps", "--config.log_every=100 steps")
    words = (TINY, "--slurm.ntasks=2", *often, "--config.evaluate.every=1000 steps", "--config.compute.devices=2")

    def submitted(folder: str) -> str:
        said = launch("submit", *words, f"--workdir={folder}")
        assert said.code == 0, said.err
        return said.out.split()[1].removesuffix(",")

    with real_slurm.running(tmp_path_factory.mktemp("slurm")):
        job = submitted("moved")
        real_slurm.until(lambda: list(Path("moved").glob("checkpoints/*.sha256")) or real_slurm.state(job) == "FAILED")
        real_slurm.said("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=true")
        real_slurm.until(lambda: real_slurm.state(job) != "RUNNING")
        assert "is saved: run the same command again to go on" in Path("moved.slurm.log").read_text()
        assert not Path("moved/results.json").exists()
        real_slurm.said("scontrol", "update", f"JobId={job}", "StartTime=now")  # it would wait for two minutes
        real_slurm.until(Path("moved/results.json").exists)
        other = submitted("alone")
        real_slurm.until(Path("alone/results.json").exists)
        real_slurm.until(lambda: {real_slurm.state(job), real_slurm.state(other)} == {"COMPLETED"})
    assert "going on from step" in Path("moved.slurm.log").read_text()
    assert plain(log.read(Path("moved"))) == plain(log.read(Path("alone")))
    results = [json.loads(Path(name, "results.json").read_text()) for name in ("moved", "alone")]
    assert plain(results[0]) == plain(results[1])
