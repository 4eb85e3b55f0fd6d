"""Messages over a TCP connection: a JSON header and bytes, and a beat whenever there was nothing to say."""

import json
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

BEAT = 2.0  # seconds of silence after which a beat is sent
LARGEST_HEADER = 2**24
PIECE = 2**20
SIZES = struct.Struct("!IQ")  # of the header and of the bytes

Message = tuple[dict[str, Any], bytes]


class Connection:
    """One end. `send` may be called in a signal handler, as a thread of its own writes.

    heard: when something was last read, by the monotonic clock.
    """

    def __init__(self, sock: socket.socket, beat: Callable[[], dict[str, Any]]) -> None:
        self.heard = time.monotonic()
        self._socket, self.beat, self._broken = sock, beat, False
        self._waiting: queue.SimpleQueue[Message | threading.Event] = queue.SimpleQueue()
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._write, name="line out", daemon=True).start()

    def send(self, header: dict[str, Any], data: bytes = b"") -> None:
        """Puts a message behind those that wait to be written."""
        self._waiting.put((header, data))

    def flush(self, seconds: float) -> None:
        """Waits until all is written, at most so long, and not where nothing can be written any more."""
        written = threading.Event()
        self._waiting.put(written)
        if not self._broken:
            written.wait(seconds)

    def messages(self) -> Iterator[Message]:
        """What the other end sends, until it closes or is gone; then this end is closed, too."""
        with suppress(OSError, ValueError):
            while True:
                yield read(self._socket, self._hear)
        self.close()

    def close(self) -> None:
        """Ends both directions; `messages` ends, too."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _hear(self) -> None:
        self.heard = time.monotonic()

    def _write(self) -> None:
        with suppress(OSError):
            while True:
                try:
                    message = self._waiting.get(timeout=BEAT)
                except queue.Empty:
                    message = self.beat(), b""
                if isinstance(message, threading.Event):
                    message.set()
                else:
                    write(self._socket, *message)
        self._broken = True  # first, so that whoever waits has either seen it or is let go here
        with suppress(queue.Empty):
            while True:
                if isinstance(message := self._waiting.get_nowait(), threading.Event):
                    message.set()


def write(sock: socket.socket, header: dict[str, Any], data: bytes = b"") -> None:
    """Writes one message."""
    text = json.dumps(header).encode()
    sock.sendall(SIZES.pack(len(text), len(data)) + text)
    if data:
        sock.sendall(data)


def read(sock: socket.socket, heard: Callable[[], None] = lambda: None) -> Message:
    """Reads one message. Raises OSError where the other end has closed, ValueError for what is none."""
    header, data = SIZES.unpack(_exactly(sock, SIZES.size, heard))
    if header > LARGEST_HEADER:
        raise ValueError("no message of this project")
    values = json.loads(_exactly(sock, header, heard))
    if not isinstance(values, dict):
        raise ValueError("no message of this project")
    return values, bytes(_exactly(sock, data, heard))


def _exactly(sock: socket.socket, size: int, heard: Callable[[], None]) -> bytearray:
    found = bytearray()
    while len(found) < size:
        piece = sock.recv(min(PIECE, size - len(found)))
        if not piece:
            raise ConnectionError("closed")
        heard()
        found += piece
    return found
