"""Sounds to be written for tests: tones in class folders, and a SoundFont of a few samples."""

import struct
from pathlib import Path

import numpy as np


def tone(hertz: float, seconds: float = 0.3, rate: int = 8000, loud: float = 0.5) -> np.ndarray:
    """[n] float32."""
    return (loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = 8000) -> Path:
    """Writes a sound, as its ending says; WAV in 32-bit floats, so that what is read is what was written."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def tones(folder: Path, count: int = 6) -> Path:
    """Class folders low and high of tones that differ a little."""
    for name, hertz in (("low", 300.0), ("high", 2000.0)):
        for number in range(count):
            write(folder / name / f"{number}.wav", tone(hertz * (1 + number / 50)))
    return folder


def soundfont(path: Path, samples: dict[str, tuple[int, int]], length: int = 1000) -> Path:
    """An .sf2 of {name: (program, bank)}: a preset and an instrument for each sample, of a tone at 8 kHz."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    def text(name: str) -> bytes:
        return name.encode().ljust(20, b"\0")

    data = [(tone(200 + 50 * n, length / 8000) * 32767).astype("<i2").tobytes() for n in range(len(samples))]
    count, names = len(samples), list(samples)
    headers = b"".join(
        text(name) + struct.pack("<5IBbHH", n * length, (n + 1) * length, 0, 0, 8000, 60, 0, 0, 1)
        for n, name in enumerate(names)
    )
    presets = b"".join(text(name) + struct.pack("<HHHIII", *samples[name], n, 0, 0, 0) for n, name in enumerate(names))
    bags = b"".join(struct.pack("<HH", n, 0) for n in range(count + 1))
    pdta = [
        chunk(b"phdr", presets + text("EOP") + struct.pack("<HHHIII", 0, 0, count, 0, 0, 0)),
        chunk(b"pbag", bags),
        chunk(b"pgen", b"".join(struct.pack("<HH", 41, n) for n in range(count)) + b"\0" * 4),
        chunk(b"inst", b"".join(text(n) + struct.pack("<H", k) for k, n in enumerate([*names, "EOI"]))),
        chunk(b"ibag", bags),
        chunk(b"igen", b"".join(struct.pack("<HH", 53, n) for n in range(count)) + b"\0" * 4),
        chunk(b"shdr", headers + text("EOS") + b"\0" * 26),
    ]
    lists = [chunk(b"LIST", b"sdta" + chunk(b"smpl", b"".join(data))), chunk(b"LIST", b"pdta" + b"".join(pdta))]
    path.write_bytes(chunk(b"RIFF", b"sfbk" + b"".join(lists)))
    return path
