"""One command in a process of its own which meets its fate at a given moment; started by test_resume.py.

The starter sets the global SETTINGS: the arguments of the command line, the moment, its step, and a file for stdout
and stderr.
"""

import os
import resource
import signal
import sys
import time
from pathlib import Path

from cnn_jax.launch import cli
from cnn_jax.report import classify
from cnn_jax.report.log import MetricLog
from cnn_jax.train import checkpoint, loop

ARGUMENTS, MOMENT, STEP, OUTPUT = globals()["SETTINGS"]


def fate() -> None:
    """What happens at the moment."""
    if MOMENT == "full disk":  # no file may grow beyond 32 kB: that is less than the arrays need
        resource.setrlimit(resource.RLIMIT_FSIZE, (32768, resource.RLIM_INFINITY))
    elif MOMENT == "asked to stop":
        os.kill(os.getpid(), signal.SIGTERM)
    elif MOMENT == "stuck":
        Path(OUTPUT).with_suffix(".stuck").touch()
        time.sleep(600)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def after(owner: object, name: str, *, when: int) -> None:
    """Lets `fate` follow the call of `owner.name` that has `when` as its first or second argument."""
    original = getattr(owner, name)

    def watched(*args: object, **kwargs: object) -> object:
        result = original(*args, **kwargs)
        if when in args[:2]:
            fate()
        return result

    setattr(owner, name, watched)


if MOMENT in ("dispatched", "asked to stop", "stuck"):
    after(loop.Meter, "push", when=STEP)
elif MOMENT == "logged":
    after(MetricLog, "write", when=STEP)
elif MOMENT == "saving":
    after(checkpoint.Checkpoints, "save", when=STEP)
elif MOMENT in ("sealed", "full disk"):
    after(checkpoint, "_seal", when=STEP)

# Drawing takes longer than training.
classify.figures = (lambda *_: fate()) if MOMENT == "scored" else (lambda *_: None)
descriptor = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(descriptor, 1)
os.dup2(descriptor, 2)
code = cli.main(ARGUMENTS)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sys.stdout.flush()
os._exit(code)
