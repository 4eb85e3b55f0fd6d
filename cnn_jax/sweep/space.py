"""What a sweep tries: for each field values or a range, and the configurations that a grid or chance makes of them."""

import ast
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_jax import config as configuration
from cnn_jax.launch import cli, fields
from cnn_jax.lookup import Function

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"(log\s+)?({NUMBER})\s*\.\.\s*({NUMBER})")
RANGES = "a range, as 1e-4..1e-1, 'log 1e-4..1e-1' or 2..8"
LARGEST = 10_000  # configurations of a grid
DIGITS = 4  # of a number that is drawn, so that its name is the number itself
TRIES = 1000  # draws in a row that may find nothing new
OPENING, CLOSING, QUOTES = "([{", ")]}", "'\""
LONGEST = 80  # characters of a name


class Range(NamedTuple):
    """Numbers from `low` to `high`, both included, drawn evenly or in their logarithm; whole: of whole numbers."""

    low: float
    high: float
    log: bool
    whole: bool

    def at(self, share: float) -> float | int:
        """The number at a share of the range from 0 to 1, evenly: whole, or of DIGITS digits."""
        half = 0.5 if self.whole else 0.0  # each whole number has the same share
        low, high = self.low - half, self.high + half
        if self.log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        return self.as_used(value)

    def as_used(self, value: float) -> float | int:
        """The number as it is trained with."""
        inside = min(max(value, self.low), self.high)
        if self.whole:
            return min(max(round(value), int(self.low)), int(self.high))
        return min(max(float(f"{inside:.{DIGITS}g}"), self.low), self.high)


Axis = tuple[Any, ...] | Range  # values of one field: numbers and truth values, of other fields texts
Values = dict[str, Any]  # one of each field that is swept


def split(text: str) -> list[str]:
    """The parts of a text between its commas; those in brackets or quotes belong to a part."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in QUOTES:
            quote = letter
        elif letter in OPENING:
            depth += 1
        elif letter in CLOSING:
            depth -= 1
        if letter == "," and depth <= 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def axis(name: str, text: str) -> Axis:
    """What the field `name` is given: one value, several with commas between them, or a range of numbers.

    Raises ValueError, in one line, for what is no value of that field.
    """
    kind = dict(configuration.fields())[name].type
    found = RANGE.fullmatch(text.strip())
    if found and kind in (int, float):
        low, high = (fields.value_of(name, bound) for bound in found.group(2, 3))
        if not low < high or not math.isfinite(high - low):
            raise cli.UsageError(f"--config.{name}={text}: a range goes from a lower number to a higher one")
        if found[1] and low <= 0:
            raise cli.UsageError(f"--config.{name}={text}: a logarithmic range begins above 0")
        return Range(low, high, log=bool(found[1]), whole=kind is int)
    values = tuple(_value(name, kind, part) for part in split(text))
    if len(set(values)) < len(values):
        raise cli.UsageError(f"--config.{name}={text}: a value is given twice")
    return values


def _value(name: str, kind: Any, text: str) -> Any:
    if kind is str and len(text) > 1 and text[0] == text[-1] in QUOTES:
        try:
            text = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            raise cli.UsageError(f"--config.{name}={text}: its quotes do not close") from None
    value = fields.value_of(name, text)
    return text if kind in (str, Function) else value


def grid(space: Mapping[str, Axis]) -> list[Values]:
    """All combinations, the last field fastest. Raises ValueError for a range, and for more than LARGEST."""
    for name, values in space.items():
        if isinstance(values, Range):
            raise cli.UsageError(f"--config.{name} is a range, of which a grid has no values: say --method=random")
    count = math.prod(len(values) for values in space.values())
    if count > LARGEST:
        raise cli.UsageError(f"a grid of {count:,} configurations is too large ({LARGEST:,} at most): --method=random")
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def drawn(space: Mapping[str, Axis], count: int) -> list[Values]:
    """So many different ones by chance, which is always the same: the first of more are those of fewer.

    Raises ValueError where there are not that many.
    """
    found: dict[str, Values] = {}
    misses = 0
    for number in itertools.count():
        shares = np.random.default_rng(number).random(len(space))
        values = {name: _at(one, float(share)) for (name, one), share in zip(space.items(), shares, strict=True)}
        misses = misses + 1 if digest(values) in found else 0
        found.setdefault(digest(values), values)
        if len(found) == count:
            break
        if misses == TRIES:
            raise cli.UsageError(f"--trials={count}: there are hardly more than {len(found)} different configurations")
    return list(found.values())


def _at(one: Axis, share: float) -> Any:
    return one.at(share) if isinstance(one, Range) else one[int(share * len(one))]


def digest(values: Mapping[str, Any]) -> str:
    """What tells configurations of one sweep apart: eight hexadecimal digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def name_of(values: Mapping[str, Any]) -> str:
    """What a configuration is called, which is a folder's name: lr=0.1,build=resnet20-1f0c3a9e."""
    said = ",".join(f"{key}={_plain(value)}" for key, value in zip(short(list(values)), values.values(), strict=True))
    return f"{said[:LONGEST].rstrip('-')}-{digest(values)}" if said else f"all-{digest(values)}"


def _plain(value: Any) -> str:
    return re.sub(r"[^\w.+-]+", "-", fields.text_of(value), flags=re.ASCII).strip("-") or "none"


def short(names: Sequence[str]) -> Iterator[str]:
    """Each dotted name by its last word, where no other ends so."""
    ends = [name.rpartition(".")[2] for name in names]
    return (end if ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True))
