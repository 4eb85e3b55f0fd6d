"""Vectors of words in the formats that they are published in."""

from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data.text import TextPrepare
from cnn_jax.weights.vectors import table

WORDS = ("film", "good", "zzz")
VECTORS = np.array([[1, 2, 3], [-1, 0.5, 0], [9, 9, 9]], np.float32)
PREPARE = TextPrepare(vocabulary=WORDS)


def written(folder: Path, kind: str) -> Path:
    names = ["film", "good", "other"]
    path = folder / f"vectors.{kind}"
    if kind == "bin":
        rows = [
            name.encode() + b" " + row.astype("<f4").tobytes() + b"\n" for name, row in zip(names, VECTORS, strict=True)
        ]
        path.write_bytes(b"3 3\n" + b"".join(rows))
    elif kind == "npz":
        np.savez(path, words=np.array(names), vectors=VECTORS)
    else:
        rows = [" ".join([name, *map(str, row)]) for name, row in zip(names, VECTORS.tolist(), strict=True)]
        path.write_text("\n".join(["3 3"] * (kind == "txt") + rows) + "\n")
    return path


@pytest.mark.parametrize("kind", ["bin", "npz", "txt", "glove"])
def test_words_get_their_vectors_and_others_are_drawn(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, kind)
    with pytest.warns(UserWarning, match="1 of 3 words have no vector in .* as 'zzz': theirs are drawn"):
        found, sha256 = table(f"vectors:{path}", PREPARE, 3, seed=0)
    assert found.shape == (4, 3) and len(sha256) == 64  # the first row is that of unknown words
    np.testing.assert_array_equal(found[1:3], VECTORS[:2])
    limit = np.sqrt(3 * VECTORS[:2].var())
    assert 0 < np.abs(found[[0, 3]]).max() <= limit
    with pytest.warns(UserWarning):
        np.testing.assert_array_equal(table(f"vectors:{path}", PREPARE, 3, seed=0)[0], found)


BAD = {
    "its vectors are of 3 numbers, those of the model of 300: build it with dim=3": ("txt", None),
    "its first line is not two numbers": ("bin", b"film x"),
    "it says 9 vectors of 9,999,999 numbers|but has": ("bin", b"9 9999999\n"),
    "it ends within a vector": ("bin", b"2 3\nfilm " + b"\0" * 20),
    "has the arrays other, not words and vectors": ("npz", None),
    "could not convert string to float": ("txt", b"film one two\n"),
    "is no word with its numbers": ("txt", b"film\n"),
    "not finite": ("txt", b"film nan inf\n"),
    "it has no vector of the 3 words": ("txt", b"other 1 2 3\n"),
}


@pytest.mark.parametrize("said", BAD)
def test_another_file_is_one_line(said: str, tmp_path: Path) -> None:
    kind, content = BAD[said]
    path = written(tmp_path, kind)
    if content is not None:
        path.write_bytes(content)
    if kind == "npz":
        np.savez(path, other=VECTORS)
    with pytest.raises(ValueError, match=said.partition("|")[0]) as error:
        table(f"vectors:{path}", PREPARE, 300, seed=0)
    assert "\n" not in str(error.value)


def test_no_file_is_one_line() -> None:
    with pytest.raises(FileNotFoundError, match="there is no file 'nowhere.bin'"):
        table("vectors:nowhere.bin", PREPARE, 3, seed=0)
