"""movie_reviews: MR, sentences of film reviews that say yes or no, in the ten folds of Kim (2014).

The set is Pang & Lee's of 2005 without 57 sentences, 5,321 positive and 5,284 negative, as it lies in the source
package of vaderSentiment 2.5, in the first order; whether a sentence is positive follows from its place. Two that stand
there twice are kept once. The folds are drawn once, at random as Kim's are.
"""

import io
import tarfile
from pathlib import Path

import numpy as np

from cnn_jax.data.installed import found
from cnn_jax.data.source import Splits, permutation
from cnn_jax.data.splits import check_sha256, digest
from cnn_jax.data.text import Unit
from cnn_jax.data.texts import text_splits

ARCHIVES = ("vaderSentiment-2.5.tar.gz", "vadersentiment-2.5.tar.gz")
INSTALL = (
    "pip download --no-deps --no-binary :all: vadersentiment==2.5, and set CNN_JAX_DATA to the folder that holds "
    "vaderSentiment-2.5.tar.gz"
)
INNER, FILE = "hutto_ICWSM_2014.tar.gz", "movieReviewSnippets_GroundTruth.txt"
POSITIVE = ((1, 5152), (10_313, 10_481))  # lines, from 1, both ends included
FOLDS = 10
SHA256 = "3bcfae0ae096398e6f38d37fdbb7957a536138ee727d5bec61f2b45f94094177"


def available() -> str | None:
    """None when the set can be opened, else how to get it."""
    return None if found(own=ARCHIVES) else INSTALL


def movie_reviews(
    *, fold: int = 0, unit: Unit = "word", least: int = 1, lengths: tuple[int, ...] = (), synonyms: float = 0.0
) -> Splits:
    """The splits "train" and "test" of one of the ten folds, 0 to 9.

    unit, least, lengths, synonyms: see `text.TextPrepare` and `text.learned`.

    Raises:
      FileNotFoundError: the archive is not there.
      ValueError: another archive, or no such fold.
    """
    if not 0 <= fold < FOLDS:
        raise ValueError(f"movie_reviews: fold must be 0 to {FOLDS - 1}, not {fold}")
    archive = found(own=ARCHIVES)
    if archive is None:
        raise FileNotFoundError(f"movie_reviews is not there: {INSTALL}")
    lines = _lines(archive)
    labels = [int(any(low <= number <= high for low, high in POSITIVE)) for number in range(1, len(lines) + 1)]
    first = {text: number for number, text in reversed(list(enumerate(lines)))}
    kept = sorted(first.values())
    order = permutation(len(kept), 0)
    test = np.zeros(len(kept), bool)
    test[order[fold::FOLDS]] = True
    places = {split: [kept[i] for i in np.flatnonzero(test == (split == "test"))] for split in ("train", "test")}
    return text_splits(
        "movie_reviews",
        {split: [lines[i] for i in chosen] for split, chosen in places.items()},
        {split: {"label": np.array([labels[i] for i in chosen], np.int32)} for split, chosen in places.items()},
        roles={"label": "label"},
        classes=("negative", "positive"),
        unit=unit,
        least=least,
        lengths=lengths,
        synonyms=synonyms,
        licence="of the package MIT; the sentences are of reviews on rottentomatoes.com, for research",
        citation="Pang & Lee 2005, Seeing stars, ACL; Hutto & Gilbert 2014, VADER, ICWSM",
        notes=[f"{len(lines) - len(kept)} of {len(lines)} sentences stand there twice and are kept once"],
    )


def _lines(archive: Path) -> list[str]:
    try:
        with tarfile.open(archive) as outer:
            inner = next(m for m in outer if m.name.endswith(INNER))
            data = outer.extractfile(inner).read()  # type: ignore[union-attr]
        with tarfile.open(fileobj=io.BytesIO(data)) as files:
            member = next(m for m in files if m.name.endswith(f"/{FILE}"))
            raw = files.extractfile(member).read()  # type: ignore[union-attr]
    except (tarfile.TarError, StopIteration, OSError, EOFError) as error:
        raise ValueError(
            f"'{archive}' is not the source package of vaderSentiment 2.5: {type(error).__name__}"
        ) from None
    check_sha256(f"the set in '{archive}'", digest(np.frombuffer(raw, np.uint8)), SHA256)
    return [_decoded(line.split(b"\t", 2)[2]) for line in raw.split(b"\n") if line.strip()]


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8").strip()
    except UnicodeDecodeError:
        return line.decode("latin-1").strip()
