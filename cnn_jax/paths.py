"""Paths and names as people write them and read them."""

from contextlib import suppress
from pathlib import Path


def written(text: str | Path) -> Path:
    """The path that someone wrote, with a leading ~ as their home: in `--flag=~/x` the shell leaves it as it is.

    Raises ValueError where there is no such user, and for no words: a variable that the shell had not was meant.
    """
    if not str(text):
        raise ValueError("a path or name is empty: write it, or leave the flag out")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"'{text}': there is no such home folder: write the whole path") from None


def printable(name: object) -> str:
    """A name from outside as it may go to a terminal or a log: on one line, without control characters.

    What a file name has that is no UTF-8 is shown as its bytes, as \\xe9.
    """
    text = str(name)
    with suppress(UnicodeError):  # in an ASCII locale Python takes each byte of é for one that it cannot decode
        text = text.encode(errors="surrogateescape").decode(errors="surrogateescape")
    letters = []
    for letter in text:
        if "\udc80" <= letter <= "\udcff":  # a byte that Python could not decode
            letters.append(f"\\x{ord(letter) - 0xDC00:02x}")
        elif letter == "\t":
            letters.append(" ")
        else:
            letters.append(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}")
    return "".join(letters)
