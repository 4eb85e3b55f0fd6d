"""What --help says of the fields of an experiment, and what an error adds to a value that is none."""

import re
from collections.abc import Mapping
from typing import Any

from cnn_jax import config as configuration
from cnn_jax.config import Experiment
from cnn_jax.lookup import Function, describe

KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


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
