"""What is wrong with texts and sounds, as `describe` says it: one line that names the place, or a count and an example.

What `predict` makes of the same stands in test_texts.py and test_sound.py, which have runs to ask.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.data.sounds import tone, tones, write


class Case(NamedTuple):
    """A source in a folder that `files` has prepared, and what is said: an error, or notes beside the counts."""

    source: str
    files: Callable[[], object]
    says: tuple[str, ...]
    code: int = 0


def table(content: str | bytes, name: str = "t.csv") -> Callable[[], object]:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda: (Path(name).parent.mkdir(exist_ok=True), Path(name).write_bytes(data))


def texts(says: str, content: str | bytes, code: int = 0, source: str = "csv:t.csv") -> Case:
    return Case(source, table(content), (says,), code)


def splits(train: str, test: str) -> Callable[[], object]:
    """s/train.csv and s/test.csv."""
    files = table(f"text,label\n{train}", "s/train.csv"), table(f"text,label\n{test}", "s/test.csv")
    return lambda: [write_it() for write_it in files]


TEXTS = {
    "an empty text": texts(
        "1 of 5 texts are empty and are left out, as number 2", "text,label\na,x\n ,y\nb,y\nc,x\nd,y"
    ),
    "empty texts alone": texts("csv:t.csv: the all split has no texts", "text,label\n,x\n ,y", 2),
    "an unknown text": Case(
        "csv:s",
        splits("good,x\nbad,y\n", "qwert,x\ngood,y\n"),
        ("1 of 2 texts of test have no word that is known, as 'qwert'",),
    ),
    "bytes of another encoding": texts(
        "'t.csv', line 3: the byte 0xe9 is not of utf-8: say encoding='latin-1'", b"text,label\na,x\nd\xe9j\xe0,y\n", 2
    ),
    "no such column": texts(
        "'t.csv' has no column 'body'", "text,label\na,x\nb,y", 2, source="csv(path='t.csv', text='body')"
    ),
    "ragged rows": texts(
        "2 of 4 rows have not 2 cells, as line 3 of t.csv, which has 3: they are left out",
        "text,label\na,x\nb,y,z\nc\nd,y",
    ),
    "no label": texts("1 of 3 rows have no label and are examples without one", "text,label\na,x\nb,\nc,y"),
    "a label in test alone": Case(
        "csv:s",
        splits("good,x\nbad,y\n", "good,z\nbad,y\n"),
        ("1 of 3 classes have no training example, as 'z'", "2 texts are in more than one split, as 'good'"),
    ),
}

LISTED = "wav('x', rate=8000, seconds=0.25, labels='labels.csv')"


def beside(name: str, make: Callable[[Path], object]) -> Callable[[], object]:
    """Tones in x/low and x/high, and the file x/low/NAME."""
    return lambda: make(tones(Path("x"), 2) / "low" / name)


def sounds(says: str, name: str, make: Callable[[Path], object]) -> Case:
    return Case("wav('x', rate=8000, seconds=0.3)", beside(name, make), (says,))


def listed(content: str | bytes) -> Callable[[], object]:
    return lambda: (tones(Path("x"), 2), table(content, "x/labels.csv")())


LEFT_OUT = "1 of 5 sounds looked at cannot be decoded and are left out, as x/low/a.wav: "
SOUNDS = {
    "no sound": sounds(f"{LEFT_OUT}cannot decode the sound", "a.wav", lambda path: path.write_bytes(b"RIFF....")),
    "no samples": sounds(f"{LEFT_OUT}it has no samples", "a.wav", lambda path: write(path, np.zeros(0, np.float32))),
    "samples that are no numbers": sounds(
        f"{LEFT_OUT}1 of its samples are nan",
        "a.wav",
        lambda path: write(path, np.append(tone(500), np.float32("nan"))),
    ),
    "another rate": sounds(
        "1 of 5 sounds have another rate and are resampled to 8000 Hz (rate), as x/low/a.flac of 44100 Hz",
        "a.flac",
        lambda path: write(path, tone(500, 0.2, 44100), 44100),
    ),
    "two channels": sounds(
        "1 of 5 sounds have several channels and are mixed to one, as x/low/a.wav of 2",
        "a.wav",
        lambda path: write(path, np.stack([tone(500, 0.2)] * 2, 1)),
    ),
    "a longer one": sounds(
        "1 of 5 sounds are longer than 0.3 s, of which the beginning of each is taken (seconds, random), as "
        "x/low/a.wav of 0.5 s",
        "a.wav",
        lambda path: write(path, tone(500, 0.5)),
    ),
    "silence": sounds("1 of 5 sounds are silent, as x/low/a.wav", "a.wav", lambda path: write(path, np.zeros(99))),
    "no column of labels": Case(
        LISTED, listed("file,kind\nlow/0,a"), ("'x/labels.csv' has no column labels or label", "but file, kind"), 2
    ),
    "a list of another encoding": Case(
        LISTED, listed(b"file,label\nlow/0,d\xe9j\xe0"), ("'x/labels.csv', line 2: the byte 0xe9 is not of utf-8",), 2
    ),
    "ragged rows of a list": Case(
        LISTED,
        listed("file,label\nlow/0,a\nlow/1\nhigh/0,b\nhigh/1,b,c"),
        ("all: 2 sounds", "2 of 4 rows have not 2 cells, as line 3 of labels.csv, which has 1: they are left out"),
    ),
    "ragged rows alone": Case(
        LISTED, listed("file,label\nlow/0\n"), ("'x/labels.csv' has no rows: 1 of 1 rows have not 2 cells",), 2
    ),
    "no such sound": Case(LISTED, listed("file,label\nlow/9,a"), ("line 2: there is no sound 'low/9'",), 2),
    "a label in test alone": Case(
        LISTED,
        listed("file,label,split\nlow/0,a,train\nlow/1,b,train\nhigh/0,c,test\nhigh/1,a,test"),
        ("1 of 3 classes have no training example, as 'c'",),
    ),
    "a class folder in test alone": Case(
        "wav:x",
        lambda: (tones(Path("x/train"), 1), tones(Path("x/test"), 1), write(Path("x/test/mid/0.wav"), tone(9))),
        ("class folder 'mid' is missing in x/train",),
        2,
    ),
}
CASES = {
    f"{kind}: {name}": case for kind, rows in (("texts", TEXTS), ("sounds", SOUNDS)) for name, case in rows.items()
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_said_once(name: str, launch: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cnn_jax.report.data.sheet", lambda *_: None)
    case.files()
    said = launch("describe", case.source)
    assert said.code == case.code, said.err
    lines = said.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") if case.code else not lines
    for part in case.says:
        assert (said.err if case.code else said.out).count(part) == 1, said
