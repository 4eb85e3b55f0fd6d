"""A published score beside ours, in words: what `launch.py reproduce` prints of a row."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_jax.evals.evaluator import digits
from cnn_jax.paths import printable
from cnn_jax.report.page.markup import duration
from cnn_jax.report.runs import MISSING

Outcome = Mapping[str, Any]  # as `launch.reproduction.outcome` makes it
WIDTH = 118
UNITS = {
    "parameters": ("{:,.0f} parameters", 1.0),
    "flops": ("{:.3g} FLOPs", 1.0),
    "memory": ("{:.2f} GB at most", 1e9),
    "joules": ("{:.3g} kWh", 3.6e6),
}


def lines(row: Outcome) -> list[str]:
    """The row in full; of one that was not run its first line."""
    paper, scores = row["paper"], row["scores"]
    if not scores and not row["error"]:
        return [printable(f"{row['row']}: not run; {row['title']}")]
    said = [
        f"{row['row']}: {row['title']}",
        *_field("paper", f"{paper['score']} {digits(paper['value'])}, margin {paper['margin']:g}; {paper['source']}"),
        *_field("ours", f"{paper['score']} {ours(row)}"),
        *_field("verdict", row["verdict_in_words"] or f"none: {row['error']}"),
    ]
    if len(scores) > 1:
        said += _field("seeds", ", ".join(f"{seed}: {digits(value)}" for seed, value in scores.items()))
    said += _field("protocol", paper["protocol"])
    if scores:
        said += _field("cost", f"a seed: {', '.join(costs(row))}; {row['devices']}")
        said += _field("versions", ", ".join(f"{name} {text}" for name, text in row["versions"].items()))
    return [printable(line) for line in said]


def _field(name: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {name:9} ", subsequent_indent=" " * 12, break_long_words=False)


def ours(row: Outcome) -> str:
    """The mean and its interval, and of how many seeds."""
    if row["mean"] is None:
        return MISSING
    interval = row["interval95"]
    within = f", 95 % interval {digits(interval[0])} to {digits(interval[1])}" if interval else ""
    return f"{digits(row['mean'])}{within} (n={len(row['scores'])})"


def costs(row: Outcome) -> list[str]:
    """What a seed takes, as far as it is known."""
    found, expected = row["cost"], row["expected"]
    said = [f"{duration(found['seconds'])} ({duration(expected['seconds'])} expected on {expected['on']})"]
    return said + [form.format(found[name] / unit) for name, (form, unit) in UNITS.items() if found[name] is not None]


def counted(rows: Sequence[Outcome]) -> str:
    """How many rows have which verdict, in a sentence."""
    words = [row["verdict"] or "not run" for row in rows]
    said = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(sorted(words)))
    return f"{len(rows)} published scores: {said}."
