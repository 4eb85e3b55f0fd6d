"""What a page of runs side by side holds: which groups are comparable, which is best by validation, and the curves."""

import functools
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.evals import seeds
from cnn_jax.evals.evaluator import Score
from cnn_jax.paths import printable
from cnn_jax.report.compare import brief
from cnn_jax.report.costs import mean_costs
from cnn_jax.report.runs import MISSING, VALIDATION, Group, Run, is_setting, varying
from cnn_jax.train.patience import Criterion, criterion

POINTS = 200  # of a curve at most: more are averaged in as many equal parts
NUMBERS = 600_000  # in all curves of a page, about 4 MB
NAME = 80  # characters of the name of a metric, a field or a run in a chart
TICK = 18  # characters beside an axis
AXES = 10  # fields in parallel coordinates
FAR = 20.0  # the largest of positive numbers over the smallest, from which on an axis is logarithmic

Points = tuple[list[int], list[float]]  # steps and values
Logged = dict[tuple[str, str], Points]  # by (metric, split)


class Part(NamedTuple):
    """Groups that can be compared: of the same data, by the same headline; the best by validation first."""

    headline: str
    groups: tuple[Group, ...]

    @property
    def first(self) -> Run:
        return self.groups[0].runs[0]


class Best(NamedTuple):
    """What validation says of the groups of a part.

    by: the score that ranks them. scores: of the groups that have it, the best first. close: how many others have an
    interval that overlaps that of the best. why_not: in words, where none is chosen.
    """

    by: Criterion
    scores: list[Score]
    close: int
    why_not: str


def parts(groups: Sequence[Group]) -> list[tuple[Part, Best]]:
    """The groups by data and headline, in the order of their first."""
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        first = group.runs[0]
        found.setdefault((first.fingerprint, first.headline), []).append(group)
    return [_ranked(headline, members) for (_, headline), members in found.items()]


def _ranked(headline: str, groups: Sequence[Group]) -> tuple[Part, Best]:
    """By validation alone: by the score that chose their checkpoints, where it is the same, or else the headline."""
    fields = [group.runs[0].config.get("evaluate") for group in groups]
    wanted = {str(field.get("best_by", "")) if isinstance(field, dict) else "" for field in fields}
    by = criterion(wanted.pop() if len(wanted) == 1 else "", headline)
    if by.name == "loss":
        by = by._replace(sign=-1)
    found = {number: group.score(VALIDATION, by.name) for number, group in enumerate(groups)}
    scores = {number: score for number, score in found.items() if score is not None}
    unranked = Part(headline, tuple(groups))
    if not scores:
        why = "no run was validated (data.validation = 0), and none is chosen by its test score"
        return unranked, Best(by, [], 0, why)
    if "data.validation" in varying(groups):
        why = "the runs were validated on different splits (data.validation)"
        return unranked, Best(by, [], 0, why)
    order = sorted(scores, key=lambda number: -by.sign * scores[number].value)
    rest = [number for number in range(len(groups)) if number not in scores]
    ranked = [scores[number] for number in order]
    close = sum(_overlap(ranked[0], score) for score in ranked[1:])
    return Part(headline, tuple(groups[number] for number in (*order, *rest))), Best(by, ranked, close, "")


def _overlap(a: Score, b: Score) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    return a.low <= b.high and b.low <= a.high


class Curves(NamedTuple):
    """Curves as the page's script reads them, and what was left out of them, in words.

    metrics: [{"name": ..., "splits": [{"name": ..., "curves": [curve or None for each group]}]}], where a curve is
    {"x": number of its steps in `steps`, "y": [values of each run], "m", "l", "h": mean and interval over runs}. None
    stands for what is not finite. room: for how many more numbers there is room.
    """

    metrics: list[dict[str, Any]]
    steps: list[list[int]]
    notes: list[str]
    room: int


def curves(part: Part, room: int) -> Curves:
    """The curves of all that was logged, the headline first; of what would take more than `room` numbers, none."""
    logged = [[_logged(run) for run in group.runs] for group in part.groups]
    keys = dict.fromkeys(key for group in logged for one in group for key in one)
    names = list(dict.fromkeys(name for name in (part.headline, "loss", *(key[0] for key in keys)) if name))
    found, every, left = list[dict[str, Any]](), dict[bytes, int](), 0
    notes: dict[str, int] = {}
    steps: list[list[int]] = []
    for name in names:
        splits = []
        for split in [split for metric, split in keys if metric == name]:
            drawn = [_curve([one[name, split] for one in group if (name, split) in one]) for group in logged]
            room -= sum(_size(curve) for curve in drawn)
            splits.append({"name": _name(split), "curves": [_packed(curve, every, steps) for curve in drawn]})
            notes["apart"] = notes.get("apart", 0) + sum(
                curve is None and any((name, split) in one for one in group)
                for curve, group in zip(drawn, logged, strict=True)
            )
        if room < 0:
            left = len(names) - len(found)
            break
        if splits:
            found.append({"name": _name(name), "splits": splits})
    said = []
    if left:
        said.append(f"{left} of {len(names)} logged scores have no curves here, as the page would be too large: {name}")
    if notes.get("apart"):
        said.append(f"{notes['apart']} curves are not drawn: the seeds were logged at no step in common")
    return Curves(found, steps, said, max(room, 0))


def _logged(run: Run) -> Logged:
    found: Logged = {}
    for row in run.rows:
        split, step = row["split"], row["step"]
        for name, value in row.items():
            if name not in ("step", "split", "epoch", "time"):
                steps, values = found.setdefault((name, split), ([], []))
                steps.append(step)
                values.append(value)
    return found


class Curve(NamedTuple):
    """steps [P]; runs [R, P]; of several runs their mean and its interval [3, P]."""

    steps: NDArray[np.int64]
    runs: NDArray[np.float64]
    mean: NDArray[np.float64] | None


def _curve(found: Sequence[Points]) -> Curve | None:
    """Of runs that logged at different steps those that all have; None where there is none."""
    if not found:
        return None
    pairs = [np.unique(np.array(steps, dtype=np.int64), return_index=True) for steps, _ in found]
    steps = functools.reduce(lambda a, b: a if np.array_equal(a, b) else np.intersect1d(a, b), (p[0] for p in pairs))
    if not len(steps):
        return None
    values = np.array(
        [np.array(v, dtype=float)[at][np.isin(own, steps)] for (own, at), (_, v) in zip(pairs, found, strict=True)]
    )
    values = np.where(np.abs(values) < 1e30, values, np.nan)
    if len(steps) > POINTS:
        ends = np.linspace(0, len(steps), POINTS + 1).astype(int)
        there = np.add.reduceat(np.isfinite(values), ends[:-1], axis=1)
        total = np.add.reduceat(np.nan_to_num(values), ends[:-1], axis=1)
        values = np.where(there > 0, total / np.maximum(there, 1), np.nan)
        steps = steps[ends[1:] - 1]
    return Curve(steps, values, np.stack(seeds.means(values)) if len(values) > 1 else None)


def _size(curve: Curve | None) -> int:
    return 0 if curve is None else curve.runs.size + (0 if curve.mean is None else curve.mean.size)


def _packed(curve: Curve | None, every: dict[bytes, int], steps: list[list[int]]) -> dict[str, Any] | None:
    if curve is None:
        return None
    key = curve.steps.tobytes()
    if key not in every:
        every[key] = len(steps)
        steps.append(curve.steps.tolist())
    packed: dict[str, Any] = {"x": every[key], "y": [rounded(values) for values in curve.runs]}
    if curve.mean is not None:
        packed |= {name: rounded(values) for name, values in zip("mlh", curve.mean, strict=True)}
    return packed


def rounded(values: NDArray[np.float64]) -> list[float | None]:
    """Five digits of each number that count; None for what is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** np.clip(4 - np.floor(np.log10(np.abs(values))), 0, 300)
        near = np.where(values == 0, 0.0, np.round(values * scale) / scale)
    return [value if math.isfinite(value) else None for value in near.tolist()]


def steps_per_epoch(group: Group) -> float | None:
    """As the first row of a log that says its epoch has it."""
    found = (row["step"] / row["epoch"] for run in group.runs for row in run.rows if row.get("epoch", 0) > 0)
    return next((rate for rate in found if math.isfinite(rate) and rate > 0), None)


class Fields(NamedTuple):
    """What differs between the groups: {name: value in each group}, settings apart from data, devices and versions."""

    settings: dict[str, list[str]]
    others: dict[str, list[str]]


def fields(part: Part) -> Fields:
    """In the order of the configuration."""
    found = varying(part.groups)
    parts: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for name, values in found.items():
        parts[0 if is_setting(name) else 1][name] = [brief(value) for value in values]
    return Fields(*parts)


def axes(settings: dict[str, list[str]]) -> list[dict[str, Any]]:
    """The first AXES fields as axes: {"name", "at": place of each group, "ticks": words of places, or None, "log"}.

    A field whose values are numbers has an axis of numbers, any other one a place for each value.
    """
    return [_axis(name, values) for name, values in list(settings.items())[:AXES]]


def _axis(name: str, values: Sequence[str]) -> dict[str, Any]:
    numbers = [None if value == MISSING else _number(value) for value in values]
    if all(number is not None or value == MISSING for number, value in zip(numbers, values, strict=True)):
        there = [number for number in numbers if number is not None]
        far = min(there) > 0 and max(there) > FAR * min(there)
        return {"name": _name(name), "at": numbers, "ticks": None, "log": far}
    ticks = sorted(set(values), key=lambda value: (_leading(value), value))
    return {"name": _name(name), "at": [ticks.index(value) for value in values], "ticks": _ends(ticks), "log": False}


def _ends(texts: Sequence[str]) -> list[str]:
    """Of texts that are too long for an axis, the ends in which they differ, from the last whole word on."""
    start = os.path.commonprefix(texts)
    cut = max(start.rfind(mark) for mark in " ,.(") + 1
    return [f"…{text[cut:]}" if cut > 1 and len(text) > TICK else text for text in texts]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e30 else None


def _leading(text: str) -> float:
    """The number with which a text like '20 epochs' begins, so that 5 epochs come before it."""
    first = _number(text.split(" ")[0])
    return math.inf if first is None else first


def chart_data(part: Part, ranking: Best, drawn: Curves, settings: dict[str, list[str]]) -> dict[str, Any]:
    """All that the page's script draws of a part."""
    validated = bool(ranking.scores)
    by = (VALIDATION, ranking.by.name) if validated else (part.first.split, part.headline)
    sign = ranking.by.sign if validated else -1 if part.headline == "loss" else 1
    scores = [group.score(*by) for group in part.groups]
    seconds = mean_costs(part.groups).get("seconds total", [None] * len(part.groups))
    return {
        "groups": [{"name": _name(group.label), "epoch": steps_per_epoch(group)} for group in part.groups],
        "metrics": drawn.metrics,
        "steps": drawn.steps,
        "axes": axes(settings),
        "score": {
            "name": _name(f"{by[0]} {by[1]}"),
            "sign": sign,
            "at": [_plain(score) for score in scores],
        },
        "seconds": seconds,
    }


def _name(text: str) -> str:
    return printable(text[:NAME])


def _plain(score: Score | None) -> list[float | None] | None:
    if score is None:
        return None
    return [number if number is not None and math.isfinite(number) else None for number in score]
