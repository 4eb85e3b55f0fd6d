"""Standard output and standard error that never break the work that prints to them."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# What a pipe says whose reader has gone: it wanted no more, as `head`. EINVAL is Windows' word for it.
GONE = (errno.EPIPE, errno.ESHUTDOWN, *((errno.EINVAL,) if os.name == "nt" else ()))


class _Stream:
    """A text stream; when it can no longer be written, what is printed from then on goes nowhere.

    lost: why, unless the reader had just seen enough.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if error.errno not in GONE:
            self.lost = error
        # The descriptor, not the stream: its buffer, and libraries that hold the stream, must find a place to write to.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def unbroken_output() -> Iterator[_Stream]:
    """Inside, printing to stdout and stderr raises nothing; yields what stands for stdout.

    A letter that the terminal's encoding has not is printed as '?'. A training behind `| head`, with a closed stdout,
    or with its output on a full disk goes on; nothing but the words is lost.
    """
    before = sys.stdout, sys.stderr
    streams = [_Stream(stream or open(os.devnull, "w", encoding="utf-8")) for stream in before]
    for stream in streams:
        if isinstance(stream._stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
    sys.stdout, sys.stderr = streams
    try:
        yield streams[0]
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before
