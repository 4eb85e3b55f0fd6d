"""A polite end: SIGTERM, SIGHUP and Ctrl-C ask for a save and the end; a second one ends the process at once.

Where there is nothing to save, as while data are opened, the first step is compiled or the test split is scored, the
process ends at once. Where it waits for a batch, of a training or an evaluation, it saves and ends. Devices
that are busy, as with compiling an evaluation, are waited for.

Several processes stop together, whichever was asked: at the next place that all come to, or at once where none has
anything to save.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cnn_jax import processes

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
SAID = "stopped; all that was done is saved: run the same command again to go on"
PATIENCE = 4  # seconds for the main thread to come out of code that is no Python, as XLA's compiler
READERS = ("prefetch", "decode")  # threads that read data


class Preempted(Exception):
    """The run was asked to stop and has saved its state."""

    exit_code = 75


class Stop:
    """Whether this process has been asked to end.

    Where there is nothing to save a signal ends the process. Within `held` it is only noted, until `waiting` is
    entered, within which it raises Preempted in the main thread.

    Of several processes all must enter `waiting` in the same order: it raises on entering, in all at the same one.
    """

    def __init__(self) -> None:
        self.asked, self.over = False, False
        self._at_once, self._nothing_to_save, self._begun = True, True, False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it there is something to save."""
        with self._being(at_once=False, nothing_to_save=False):
            yield
        self._begun = False

    def waiting(self, *, nothing_to_save: bool = False, steady: bool = False) -> Any:
        """Within it, and on entering, a signal raises Preempted: what is done there can be dropped.

        steady: what follows takes as long as it took before; of several processes one that hangs there is told so.
        """
        if line := processes.current():
            # That this process has nothing to save now says nothing of the others, which may be a step ahead.
            self._begun |= not nothing_to_save
            if line.point(steady=steady):
                self.over = True
                raise Preempted(SAID)
            nothing_to_save &= not self._begun
        return self._being(at_once=True, nothing_to_save=nothing_to_save)

    def note(self) -> None:
        """What a signal does, in the main thread."""
        self.asked = True
        if self._nothing_to_save:
            _end()  # an exception would go through whatever is done just now, and XLA does not survive that
        if line := processes.current():
            line.ask_to_stop()
        else:
            self._raise_if_asked()

    @contextmanager
    def _being(self, *, at_once: bool, nothing_to_save: bool) -> Iterator[None]:
        before = self._at_once, self._nothing_to_save
        self._at_once, self._nothing_to_save = at_once, nothing_to_save
        try:
            self._raise_if_asked()
            yield
        finally:
            self._at_once, self._nothing_to_save = before

    def _raise_if_asked(self) -> None:
        if self.asked and self._at_once and processes.current() is None:
            self.over = True
            raise Preempted(SAID)

    def overdue(self) -> bool:
        """Whether nothing would be lost by ending the process, and the main thread does not do it."""
        return self._nothing_to_save and not self.over


@contextmanager
def stop_requested() -> Iterator[Stop]:
    """Yields what says whether a signal has come. A signal that is ignored stays so.

    Raises ValueError in another thread than the main one, which alone receives signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ValueError("only the main thread of a process can train, as it alone receives signals: train there")
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[number])
        stop.note()

    found = {number: signal.getsignal(number) for number in SIGNALS}
    before: dict[int, Any] = {number: handler for number, handler in found.items() if handler != signal.SIG_IGN}
    read, write = socket.socketpair()  # not a pipe, which Windows cannot make non-blocking
    write.setblocking(False)
    threading.Thread(target=_watch, args=(read, stop), name="stop", daemon=True).start()
    earlier = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)  # written to even where no Python is run
    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    except Preempted:
        if any(thread.name.startswith(READERS) for thread in threading.enumerate()):
            threading.Thread(target=_leave, name="leave", daemon=True).start()
        raise
    finally:
        stop.over = True
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(earlier)
        write.close()


def _watch(pipe: socket.socket, stop: Stop) -> None:
    """Ends the process some seconds after a signal that the main thread cannot take, where nothing is lost by that."""
    with pipe:
        while number := pipe.recv(1):
            if number[0] in SIGNALS:
                time.sleep(PATIENCE)
                if stop.overdue():
                    _end()


def _end() -> None:
    """Ends the process as if it were killed, and with it the others, with a word and the exit code of a stop."""
    if line := processes.current():
        line.end(Preempted.exit_code, SAID)
    print(SAID, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(Preempted.exit_code)


def _leave() -> None:
    """Ends the process a second after its main thread, which would wait for threads that read a stalled disk."""
    threading.main_thread().join()
    time.sleep(1)
    os._exit(Preempted.exit_code)
