"""What the values of masks mean: classes, by settings, by a file of names and colours, or by what is there."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.mask_files import COLOUR, Values, replaced, shown
from cnn_jax.data.spec import IGNORED
from cnn_jax.paths import printable

CLASS_FILES = ("classes.txt", "classes.csv")
LARGEST = 2**20  # bytes of such a file
BACKGROUND, FOREGROUND = "background", "foreground"  # what classes are called that have no names
IGNORED_NAME = "ignored"  # in a file: what has this colour does not count
WHITE = 255  # foreground where 0 is all there is beside it, else a number for pixels that do not count
UNNAMED = 32  # values without names, more of which are taken for no classes
LISTED = 8  # values at most that a message lists
UNKNOWN = 254  # beyond the classes: what a value is replaced by that there is not
MOST = UNKNOWN  # classes


class Named(NamedTuple):
    """Classes as settings or a file name them; colours: of each, () where there are none, and of what is ignored."""

    classes: tuple[str, ...] = ()
    colours: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()


class Found(NamedTuple):
    """A value: in how many pixels of all masks, and the name of the first of these."""

    pixels: int
    first: str


class Meaning(NamedTuple):
    """What values are: `table`, {value: class or IGNORED}, or with a threshold class 1 from there on.

    class_ids: the numbers that the classes have in masks, () where they are 0, 1, 2, ...
    lenient: whether values that mean nothing count as ignored. notes: what was guessed.
    """

    classes: tuple[str, ...]
    table: Mapping[int, int]
    threshold: int | None = None
    class_ids: tuple[int, ...] = ()
    lenient: bool = False
    notes: tuple[str, ...] = ()

    def classed(self, values: Values) -> NDArray[np.uint8]:
        """Classes [H, W] of the values of a mask, IGNORED where there is none. ValueError for a value of no class."""
        if self.threshold is not None:
            known: NDArray[np.uint8] = np.where(values >= self.threshold, 1, 0).astype(np.uint8)
            return known if not self.table else np.where(values == next(iter(self.table)), np.uint8(IGNORED), known)
        found = replaced(values, self.table, IGNORED if self.lenient else UNKNOWN)
        if (found == UNKNOWN).any():  # the file has changed since it was looked at
            raise ValueError(f"the value {shown(int(values[found == UNKNOWN][0]))} in its mask, which is of no class")
        return found

    def counts(self, values: Mapping[int, int]) -> NDArray[np.int64]:
        """Pixels [classes + 1] of each class and of what is ignored, of a mask with so many of each value."""
        total = np.zeros(len(self.classes) + 1, np.int64)
        if values:
            classes = self.classed(np.array([list(values)], np.uint32))[0]
            np.add.at(total, np.where(classes == IGNORED, len(self.classes), classes), list(values.values()))
        return total


def read_classes(root: Path) -> tuple[Named, str]:
    """The classes that a file in `root` names, and that file's name; no classes and "" where there is none.

    It has a line for each class: its name, or its name and the red, green and blue of its colour, 0 to 255, separated
    by blanks or commas. A first line of the words name, r, g, b is a heading. Lines that begin with # do not count.
    Raises ValueError, in one line, for what is no such file.
    """
    file = next((root / name for name in CLASS_FILES if (root / name).is_file()), None)
    if file is None:
        return Named(), ""
    where = f"'{printable(file)}'"
    if file.stat().st_size > LARGEST:
        raise ValueError(f"{where} has more than {LARGEST:,} bytes: it is no list of classes")
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{where} is no text in UTF-8") from None
    rows = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if rows and re.fullmatch(r"name[\s,;]+r(ed)?[\s,;]+g(reen)?[\s,;]+b(lue)?", rows[0][1].lower()):
        del rows[0]
    parts = [_row(line, f"{where}, line {number}") for number, line in rows]
    coloured = [colour is not None for _, colour in parts]
    if any(coloured) and not all(coloured):
        number, line = rows[coloured.index(False)]
        raise ValueError(f"{where}, line {number} is '{printable(line)[:60]}', without a colour as other lines have")
    colours = [colour for _, colour in parts if colour is not None]
    first = {colour: name for name, colour in reversed(parts)}
    if twice := next((name for name, colour in parts if colour is not None and first[colour] != name), None):
        colour = dict(parts)[twice]
        raise ValueError(f"{where}: '{first[colour]}' and '{twice}' have the same colour {shown(colour or 0)}")
    counted = [name != IGNORED_NAME for name, _ in parts]
    return Named(
        tuple(name for (name, _), keep in zip(parts, counted, strict=True) if keep or not colours),
        tuple(colour for colour, keep in zip(colours, counted, strict=False) if keep),
        tuple(colour for colour, keep in zip(colours, counted, strict=False) if not keep),
    ), file.name


def _row(line: str, where: str) -> tuple[str, int | None]:
    """A name and its colour."""
    words = [word for word in re.split(r"[\s,;]+", line) if word]
    numbers = 0
    while numbers < len(words) and words[-1 - numbers].isdecimal():
        numbers += 1
    if numbers >= 3 and len(words) > 3:
        return " ".join(words[:-3]), colour_of(tuple(map(int, words[-3:])), where)
    if numbers and len(words) > numbers > 1:
        raise ValueError(f"{where} is '{printable(line)[:60]}': write a name, or a name and red, green and blue")
    return line, None


def colour_of(values: Any, where: str) -> int:
    """Red, green and blue as a value. Raises ValueError for what is none."""
    good = isinstance(values, tuple) and len(values) == 3 and all(type(v) is int and 0 <= v <= 255 for v in values)
    if not good:
        raise ValueError(f"{where} has the colour {str(values)[:60]}, not red, green and blue of 0 to 255")
    return int(COLOUR + 65536 * values[0] + 256 * values[1] + values[2])


def named(root: Path, classes: Sequence[str], colours: Sequence[object]) -> Named:
    """The classes that settings or a file in `root` name. Raises ValueError, in one line, where both do otherwise."""
    if isinstance(classes, str) or not all(isinstance(name, str) and name for name in classes):
        raise ValueError(f"classes must be names, as ('background', 'cell'), not {classes!r}")
    known, file = read_classes(root)
    if classes and known.classes and sorted(classes) != sorted(known.classes):
        differing = sorted({*classes} ^ {*known.classes})[0]
        raise ValueError(
            f"classes={tuple(classes)} and {file} differ, as in '{printable(differing)}': leave one of them out"
        )
    given = tuple(colour_of(colour, f"colours[{number}]") for number, colour in enumerate(colours))
    names = known.classes or tuple(classes)
    if given and len(given) != len(names):
        raise ValueError(f"{len(given)} colours are given for {len(names)} classes: give each class one, in order")
    if len(set(given)) < len(given):
        raise ValueError(f"two of the colours are the same: {', '.join(map(shown, given))}")
    return Named(names, given or known.colours, known.ignored)


def meaning(
    found: Mapping[int, Found],
    named: Named,
    *,
    class_ids: Sequence[int],
    ignore: int | None,
    threshold: int | None,
    unknown: str,
) -> Meaning:
    """What the values that were found mean.

    Raises ValueError, in one line without the name of the set, where that cannot be told or a value has none.
    """
    names, lenient = named.classes, unknown == "ignore"
    if threshold is not None:
        _no_colours(found)
        if class_ids or named.colours or len(names) not in (0, 2):
            raise ValueError("threshold makes two classes of grey masks: give two names, no class_ids and no colours")
        return Meaning(names or (BACKGROUND, FOREGROUND), {} if ignore is None else {ignore: IGNORED}, threshold)
    left = {} if ignore == -1 else {WHITE if ignore is None else ignore: IGNORED}
    if named.colours:
        table = {colour: number for number, colour in enumerate(named.colours)}
        known = Meaning(names, {**left, **dict.fromkeys(named.ignored, IGNORED), **table}, lenient=lenient)
        return _checked(found, known)
    _no_colours(found)
    if class_ids:
        return _checked(found, _of_ids(class_ids, names, left, lenient))
    if ignore is None and {*found} == {0, WHITE} and len(names) in (0, 2):
        note = (
            f"masks have the values 0 and {WHITE} alone: {WHITE} is taken for '{(names or (0, FOREGROUND))[1]}', not "
            f"for pixels that do not count: ignore={WHITE} in the source changes it"
        )
        return Meaning(names or (BACKGROUND, FOREGROUND), {0: 0, WHITE: 1}, notes=(note,))
    if names:
        return _checked(found, Meaning(names, {**{n: n for n in range(len(names))}, **left}, lenient=lenient))
    return _unnamed(found, left)


def _of_ids(class_ids: Sequence[int], names: tuple[str, ...], left: Mapping[int, int], lenient: bool) -> Meaning:
    good = all(type(i) is int and 0 <= i < 2**16 for i in class_ids) and len(set(class_ids)) == len(class_ids)
    if not good or (names and len(names) != len(class_ids)):
        wanted = f"{len(names)} numbers, one for each class" if names else "numbers of 0 to 65535"
        raise ValueError(f"class_ids must be different {wanted}, not {str(tuple(class_ids))[:100]}")
    chosen = names or tuple(BACKGROUND if i == 0 else str(i) for i in class_ids)
    table = {**left, **{i: number for number, i in enumerate(class_ids)}}
    return Meaning(chosen, table, class_ids=tuple(class_ids), lenient=lenient)


def _unnamed(found: Mapping[int, Found], left: Mapping[int, int]) -> Meaning:
    """Where nothing names classes: the numbers from 0 on, if there is no gap."""
    values = sorted({*found} - {*left})
    if len(values) > UNNAMED:
        raise ValueError(
            f"masks have {len(values):,} values, {_listed(values)}, as {found[values[-1]].first}: where they number "
            "objects, or edges are smooth, as of JPEG, say in the source from which on they are foreground, as "
            "threshold=1 or threshold=128; where they are classes name them in classes.txt"
        )
    if len(values) < 2:
        only = f"the value {values[0]} alone" if values else "nothing that counts"
        raise ValueError(f"masks have {only}, no two classes to tell apart: are they the right files?")
    if values != list(range(len(values))):
        ids = f"({', '.join(map(str, values[:LISTED]))}{', ...' * (len(values) > LISTED)})"
        raise ValueError(
            f"masks have the values {_listed(values)}, with gaps (the greatest in {found[values[-1]].first}): say in "
            f"the source what they are, as class_ids={ids}, or name all classes from 0 on in classes.txt"
        )
    names = (BACKGROUND, FOREGROUND) if len(values) == 2 else (BACKGROUND, *map(str, values[1:]))
    note = f"classes have no names and are called {', '.join(names[:LISTED])}: name them in classes.txt, a line each"
    return Meaning(names, {**{n: n for n in values}, **left}, notes=(note,))


def _no_colours(found: Mapping[int, Found]) -> None:
    if colours := [value for value in sorted(found) if value >= COLOUR]:
        raise ValueError(
            f"masks are in colours, as {found[colours[0]].first}, and nothing says of which class each is: write lines "
            f"of name, red, green and blue to classes.txt; there are {_listed(sorted(found))}"
        )


def _checked(found: Mapping[int, Found], known: Meaning) -> Meaning:
    """The same. Raises ValueError for values that it does not know, unless these count as ignored."""
    if len(known.classes) < 2 or len(known.classes) > MOST:
        raise ValueError(f"masks have {len(known.classes)} classes: 2 to {MOST} can be told apart")
    strange = sorted({*found} - {*known.table})
    if not strange:
        return known
    pixels = sum(found[value].pixels for value in strange)
    kind = "colours" if strange[-1] >= COLOUR else "values"
    first = found[strange[0]].first
    if known.lenient:
        listed = f"{len(strange):,} {kind} of masks are of no class, {_listed(strange)}"
        note = f"{listed}: their {pixels:,} pixels count as ignored, as in {first}"
        return known._replace(notes=(*known.notes, note))
    have = [value for value in strange if found[value].first == first]
    said = ", ".join(
        f"{printable(known.classes[number])} {shown(value)}"
        for value, number in known.table.items()
        if number != IGNORED
    )
    edges = ", or threshold=128 where edges of grey masks are smooth" if len(strange) > UNNAMED else ""
    raise ValueError(
        f"{first} has the value{'s' * (len(have) > 1)} {_listed(have)} of no class ({pixels:,} pixels in all masks), "
        f"the classes are {said[:200]}: mend classes or masks, or say unknown='ignore' in the source{edges}"
    )


def _listed(values: Sequence[int]) -> str:
    more = f" and {len(values) - LISTED:,} more" if len(values) > LISTED else ""
    return ", ".join(map(shown, values[:LISTED])) + more
