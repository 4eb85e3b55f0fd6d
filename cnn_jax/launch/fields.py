"""The fields of an experiment on the command line: what --help says of them, their names, and values as text."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cnn_jax import config as configuration
from cnn_jax.config import Experiment
from cnn_jax.launch import cli
from cnn_jax.lookup import Function, describe, did_you_mean, lookup

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
MOST_SEEDS = 10_000  # of a range
TRUTH = {"true": True, "1": True, "false": False, "0": False}
IN_SOURCE = "a setting of the source, as --config.data.source='folder(PATH, size=64, channels=3)'"
# Fields of version 0.1, and where to find them now.
MOVED = {
    "evaluate_every": "it is now evaluate.every",
    "data.eval_batch_size": "it is now evaluate.batch_size",
    "data.image_size": f"it is now {IN_SOURCE}",
    "data.channels": f"it is now {IN_SOURCE}",
    "data.corrupt": f"it is now {IN_SOURCE}",
    "data.interpolation": f"it is now {IN_SOURCE}",
}


def help_of(config: Experiment | None) -> str:
    """A paragraph for each field: its flag, with the value in `config` if there is one, its meaning and its form."""
    heading = f"Fields of {config.name}:" if config else "Fields of an experiment (with its values: EXPERIMENT --help):"
    values = {} if config is None else {name: value for name, _, value in configuration.walk(config)}
    lines = ["", heading]
    for name, field in configuration.fields():
        value = values.get(name)
        shown = "" if config is None else f"={describe(value) if callable(value) else value}"
        lines.append(f"  --config.{name}{shown}\n        {field.metadata['help']} ({form(field.type, field.metadata)})")
    return "\n".join(lines)


def form(kind: Any, about: Mapping[str, Any]) -> str:
    """How a value of a field is written, as "a number, at least 0"."""
    if kind is Function:
        return f"a function, see launch.py list {about['kind']}"
    if written := about.get("duration"):
        return f"a duration, as {written}".replace("'", "")
    if choices := about.get("choices"):
        return f"{', '.join(choices[:-1])} or {choices[-1]}"
    bounds = {"low": "at least", "above": "above", "high": "at most", "below": "below"}
    said = [f"{words} {about[name]:g}" for name, words in bounds.items() if about.get(name) is not None]
    return ", ".join([KINDS[kind], *said])


def hint(message: str) -> str:
    """What helps with an error of a flag --config.FIELD, which the message names: the form of the field's values."""
    found = re.match(r"flag --config\.([\w.]+)=", message)
    fields = {name: field for name, field in configuration.fields()}
    return f" ({form(fields[found[1]].type, fields[found[1]].metadata)})" if found and found[1] in fields else ""


def check_names(arguments: Sequence[str], others: Iterable[str] = ()) -> None:
    """Raises UsageError for a flag --config.FIELD of no field, or for a field without config., with what was meant.

    others: the other flags that the command has, which may be called like a field.
    """
    known, own = {name for name, _ in configuration.fields()}, set(others)
    ends = Counter(name.rpartition(".")[2] for name in known)
    meant = {end: name for name in known if ends[end := name.rpartition(".")[2]] == 1} | {name: name for name in known}
    for argument in arguments:
        name, _, _ = argument.lstrip("-").partition("=")
        found = meant.get(name) or meant.get(name.partition(".")[2])
        if argument.startswith("-") and found and name not in own and not name.startswith(("config.", "noconfig.")):
            raise cli.UsageError(f"unknown flag '--{name}': did you mean '--config.{found}'?")
        for prefix in ("config.", "noconfig."):
            if argument.startswith("-") and name.startswith(prefix) and name.removeprefix(prefix) not in known:
                unknown = name.removeprefix(prefix)
                hint = MOVED.get(unknown) or did_you_mean(unknown, known)
                raise cli.UsageError(f"unknown field 'config.{unknown}': {hint} (launch.py train --help lists them)")


def value_of(name: str, text: str) -> Any:
    """The value of the field `name` that a text means. Raises UsageError, with the form of its values, for any other.

    That it makes sense there, `configuration.check` says.
    """
    field = dict(configuration.fields())[name]
    read: dict[Any, Callable[[str], Any]] = {bool: _truth, int: int, float: float, str: str, Function: lookup}
    try:
        return read[field.type](text)
    except ValueError as error:
        why = f"{error} " if field.type is Function else ""
        raise cli.UsageError(f"--config.{name}={text}: {why}({form(field.type, field.metadata)})") from None


def _truth(text: str) -> bool:
    if text.lower() not in TRUTH:
        raise ValueError
    return TRUTH[text.lower()]


def text_of(value: Any) -> str:
    """The text of which `value_of` makes a number or a truth value; a text as it is."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def seeds(text: str) -> list[int]:
    """The seeds that --seeds means: 0,1,2, or 0:5 for those from 0 to 4. Raises UsageError for anything else."""
    found = list[int]()
    for part in text.split(","):
        bounds = [int(word) if word.strip().isdecimal() else -1 for word in part.split(":")]
        begin, end = bounds[0], bounds[1] if len(bounds) == 2 else bounds[0] + 1
        if not (len(bounds) <= 2 and 0 <= begin < end <= configuration.LARGEST + 1 and end - begin <= MOST_SEEDS):
            break
        found += range(begin, end)
    else:
        if len(set(found)) == len(found):
            return found
    raise cli.UsageError(f"--seeds={text}: write different numbers, as --seeds=0,1,2 or --seeds=0:3")
