"""Commands as one process of several, one after another; started by test_processes.py.

The starter sets the global SETTINGS: the process's place, the number of its devices, the arguments of each command, the
step after which a signal comes to the process in the last of them (0 for none), and a file for stdout and stderr.
"""

import os
import signal
import sys

from cnn_jax.devices import COUNT
from cnn_jax.launch import cli, joined
from cnn_jax.processes.roll_call import Place
from cnn_jax.report import classify
from cnn_jax.train import loop

PLACE, DEVICES, COMMANDS, STEP, OUTPUT = globals()["SETTINGS"]


def commands() -> int:
    code = 0
    for arguments in COMMANDS:
        if STEP and arguments is COMMANDS[-1]:
            push = loop.Meter.push
            loop.Meter.push = pushed(push)
        code = cli.main(arguments)
        if code:
            break
    return code


def pushed(push):
    def call(meter, step, fetch):
        push(meter, step, fetch)
        if step == STEP:
            os.kill(os.getpid(), signal.SIGTERM)

    return call


classify.figures = lambda *_: None  # drawing takes longer than training
descriptor = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(descriptor, 1)
os.dup2(descriptor, 2)
sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
flags = os.environ["XLA_FLAGS"].split()  # of tests/conftest.py
os.environ["XLA_FLAGS"] = " ".join([f"{COUNT}={DEVICES}", *(flag for flag in flags if COUNT not in flag)])
joined.run(Place(*PLACE), commands)
