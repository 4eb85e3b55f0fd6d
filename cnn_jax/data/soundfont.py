"""SoundFont 2 files (.sf2): their samples, and the presets of General MIDI that play them.

Read by the specification of SoundFont 2.04 (E-mu 2005), section 7; what is wrong in a file is one line of ValueError.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.paths import printable

INSTRUMENT, SAMPLE = 41, 53  # generators whose amount is the number of one
MONO, RIGHT, LEFT = 1, 2, 4  # kinds of samples
MOST = 2**30  # bytes of a file
DRUMS = 128  # the bank of percussion


class Sample(NamedTuple):
    """name; samples int16 [n]; rate in Hz; kind: MONO, RIGHT or LEFT; programs: of melodic presets that play it."""

    name: str
    samples: NDArray[np.int16]
    rate: int
    kind: int
    programs: frozenset[int]


def read(path: Path) -> list[Sample]:
    """All samples of a file, in its order.

    Raises ValueError, in one line, for what is no SoundFont, and OSError for what cannot be read.
    """
    if path.stat().st_size > MOST:
        raise ValueError(f"'{printable(path)}' has more than {MOST:,} bytes: it is not read")
    data = path.read_bytes()
    try:
        chunks = dict(_chunks(data))
        return list(_samples(chunks))
    except (struct.error, KeyError, IndexError, ValueError) as error:
        raise ValueError(f"'{printable(path)}' is no SoundFont 2 file, or a damaged one ({error})") from None


def _chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """{name: content} of the chunks within the lists of the file."""
    form, _, kind = struct.unpack_from("<4sI4s", data)
    if (form, kind) != (b"RIFF", b"sfbk"):
        raise ValueError("it does not begin as one")
    for name, content in _in_order(memoryview(data)[12:]):
        if name == "LIST":
            yield from ((inner, bytes(found)) for inner, found in _in_order(content[4:]))


def _in_order(data: memoryview) -> Iterator[tuple[str, memoryview]]:
    place = 0
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        if place + 8 + size > len(data):
            raise ValueError("it ends too early")
        yield name.decode("latin-1"), data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def _samples(chunks: Mapping[str, bytes]) -> Iterator[Sample]:
    programs = _programs(chunks)
    sound = np.frombuffer(chunks["smpl"], "<i2")
    headers = list(struct.iter_unpack("<20s5IBbHH", chunks["shdr"]))[:-1]  # the last one says that they end
    for number, (name, start, end, _, _, rate, _, _, _, kind) in enumerate(headers):
        if not start <= end <= len(sound) or not 0 < rate < 1_000_000:
            raise ValueError(f"the sample '{_text(name)}' lies outside the file")
        yield Sample(_text(name), sound[start:end], rate, kind, frozenset(programs[number]))


def _programs(chunks: Mapping[str, bytes]) -> dict[int, set[int]]:
    """{number of a sample: programs that play it}."""
    players = _zones(chunks, "inst", "<20sH", "ibag", "igen", SAMPLE)
    found: dict[int, set[int]] = defaultdict(set)
    presets = list(struct.iter_unpack("<20sHHHIII", chunks["phdr"]))
    for preset, instruments in _zones(chunks, "phdr", "<20sHHHIII", "pbag", "pgen", INSTRUMENT).items():
        _, program, bank, *_ = presets[preset]
        for instrument in instruments if bank != DRUMS else ():
            for sample in players.get(instrument, ()):
                found[sample].add(program)
    return found


def _zones(
    chunks: Mapping[str, bytes], head: str, layout: str, bag: str, generator: str, wanted: int
) -> dict[int, list[int]]:
    """{number of a preset or an instrument: what its zones name by the generator `wanted`}."""
    place = 3 if head == "phdr" else 1  # of the first bag, among the numbers of a header
    bags = [first for first, _ in struct.iter_unpack("<HH", chunks[bag])]
    generators = list(struct.iter_unpack("<HH", chunks[generator]))
    starts = [header[place] for header in struct.iter_unpack(layout, chunks[head])]
    found = {}
    for number, (first, last) in enumerate(zip(starts, starts[1:], strict=False)):
        rows = generators[bags[first] : bags[last]]
        found[number] = [amount for kind, amount in rows if kind == wanted]
    return found


def _text(name: bytes) -> str:
    return printable(name.partition(b"\0")[0].decode("latin-1").strip())
