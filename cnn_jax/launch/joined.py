"""A command as one process of several: it finds the others, works with them, and ends when they end.

A process of several never ends through Python's exit handlers, in which JAX waits for peers that may be gone: it says
its line, tells the others, and leaves.
"""

import hashlib
import importlib.metadata
import os
import platform
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from cnn_jax import processes
from cnn_jax.launch import cli
from cnn_jax.processes.line import GONE, LOST, Ended
from cnn_jax.processes.roll_call import WAIT, Place, meet
from cnn_jax.train.preempt import SAID, SIGNALS

LAUNCHED = "CNN_JAX_LAUNCHED"  # environment variable: how often the launcher, which says how each ends, started again
SECONDS = 50.0  # to wait for the others
NEWS = 1.5  # seconds in which it becomes known that a peer has ended, which may be why this process fails
CONNECTED = 600  # seconds for JAX to connect processes that have met: what happens to them meanwhile is heard
NEVER = 10**6  # seconds
PACKAGES = ("jax", "jaxlib", "numpy", "flax", "optax")
_last_words = threading.Lock()  # whoever has it says why this process ends


def restarts() -> int | None:
    """How often all processes have been started again, None where no launcher started this one."""
    text = os.environ.get(LAUNCHED, "")
    return int(text) if text.isdecimal() else None


def run(place: Place, work: Callable[[], int]) -> NoReturn:
    """Does the work as the process of this place, and ends this Python with its exit code."""
    _take_stdout(place.rank == 0)
    words = "it failed"

    def joined() -> int:
        nonlocal words
        try:
            _join(place)
            return work()
        except BaseException as error:
            if getattr(error, "exit_code", None) != cli.STOPPED:
                heard = (line := processes.current()) and line.heard_of_an_end(NEWS)
                if heard or not _last_words.acquire(blocking=False):
                    threading.Event().wait()  # what follows from the end of another is not said: `_leave` is under way
            words = " ".join((str(error).strip() or type(error).__name__).splitlines())
            raise

    try:
        code = cli.one_line_errors(joined)
    except BaseException:
        traceback.print_exc()
        code = 1
    if line := processes.current():
        if code in (0, cli.STOPPED):
            line.close()
        else:
            line.end(code, words)
    _exit(code)


def _join(place: Place) -> None:
    """Meets the others; from then on JAX has the devices of all."""
    if restarts() is not None:
        threading.Thread(target=_end_with_launcher, name="launcher", daemon=True).start()
    text = os.environ.get(WAIT, "")
    found = meet(place, _facts(), float(text) if text.replace(".", "", 1).isdecimal() else SECONDS, _leave)
    processes.use(found.line)

    def stop(number: int, frame: FrameType | None) -> None:
        found.line.end(cli.STOPPED, SAID)
        print(SAID, file=sys.stderr)
        _exit(cli.STOPPED)

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)

    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    own = place.host in ("127.0.0.1", "localhost")
    jax.distributed.initialize(
        f"{place.host}:{found.port}",
        place.total,
        place.rank,
        place.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=CONNECTED,
        heartbeat_timeout_seconds=NEVER,  # its own would abort all, with a stack trace, after a laptop's sleep
        coordinator_bind_address=f"{place.host}:{found.port}" if own else None,
    )


def _facts() -> dict[str, str]:
    """What must be the same in all processes, beside the configuration and the data."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"code of cnn_jax": digest.hexdigest()[:12], "Python": platform.python_version(), **versions}


def _take_stdout(wanted: bool) -> None:
    """Only process 0 prints, and only what Python prints: gloo says on the descriptor itself whom it met."""
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    own = os.dup(1) if wanted else os.dup(nowhere)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = open(own, "w", buffering=1, encoding=sys.stdout.encoding, errors=sys.stdout.errors)


def _leave(end: Ended) -> None:
    """Ends this process because another has ended, which the launcher says, or process 0, or where that is gone all."""
    if not _last_words.acquire(blocking=False):
        return  # this process says why it ends, and ends, just now
    launched, gone = restarts() is not None, end.words == GONE.format(end.rank)
    if (end.code == LOST and not gone) if launched else 0 in (end.rank, processes.index()):
        words = end.words if end.code in (LOST, cli.STOPPED) else f"process {end.rank}: {end.words}"
        print(words if end.code == cli.STOPPED else f"error: {words}", file=sys.stderr)
    _exit(end.code)


def _exit(code: int) -> NoReturn:
    def flush() -> None:
        sys.stdout.flush()
        sys.stderr.flush()

    flushing = threading.Thread(target=flush, daemon=True)  # nobody may read what is printed
    flushing.start()
    flushing.join(1)
    os._exit(code)


def _end_with_launcher() -> None:
    """Asks for a stop when the launcher, at the other end of stdin, is gone."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
