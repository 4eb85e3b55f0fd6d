"""The file by which SLURM trains: it stops in time, saved, and queues again until the run is complete."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cnn_jax.launch import cli
from cnn_jax.launch.child import ROOT
from cnn_jax.processes.line import LOST

WARNED = 120  # seconds before its time is over in which a training can save
PYTHONPATH = "PYTHONPATH"


def script(
    words: Sequence[str], folder: Path, own: Mapping[str, str], restarts: int, log: Path, asked: Sequence[str]
) -> str:
    """The text of the file for sbatch, for a person to read and change.

    Args:
      words: of `launch.py train`.
      folder: of the run, which names the job.
      own: {option of sbatch: its value}, "" for one without.
      restarts: times that all begin again after one has died or hung.
      log: where all is printed to, one start below the other.
      asked: the words of the command that this was made by.
    """
    options = {
        "job-name": folder.name,
        "output": str(log.absolute()),
        "open-mode": "append",
        **dict(requeue="", signal=f"TERM@{WARNED}"),
        **own,
    }
    lines = [f"#SBATCH --{name}{'=' * bool(value)}{value}" for name, value in options.items()]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get(PYTHONPATH))))
    start = [sys.executable, str(Path(sys.argv[0]).absolute()), "train", *words]
    options_of_sbatch = "\n".join(lines)
    return f"""#!/bin/bash
# By: {shlex.join(["launch.py", "submit", *asked])}
# A training that has to make room, or whose time is over, saves and ends with exit code {cli.STOPPED}: the job queues
# again, and goes on. So it does {restarts} times where a process died or hung ({LOST}). Any other end is the end.
{options_of_sbatch}

cd {shlex.quote(str(Path.cwd()))} || exit
export {PYTHONPATH}={shlex.quote(path)}
srun --kill-on-bad-exit=1 {shlex.join(start)}
code=$?
if [ $code = {cli.STOPPED} ] || {{ [ $code = {LOST} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; }}; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
"""


def submitted(file: Path) -> str:
    """Gives the file to sbatch; returns the job's number. Raises ValueError, in one line, where it is refused."""
    try:
        done = subprocess.run(["sbatch", "--parsable", file], capture_output=True, text=True)
    except FileNotFoundError:
        raise ValueError(f"there is no sbatch here: give it '{file}' where SLURM is, or say --nosubmit") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise ValueError(f"SLURM refuses '{file}': {said}")
    return done.stdout.strip().partition(";")[0]
