"""What a run has cost: each number of its results.json that is no score, and how fast it trained."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cnn_jax.report.runs import TEST, VALIDATION, Group, Run

NO_COSTS = (TEST, VALIDATION, "also", "headline", "seed", "step", "best_step")
RATE, SPEED = "examples_per_second", "examples per second"
LARGEST = 1e30  # beyond it a number is no cost, and none that a table can show
DEEPEST = 3  # mappings within mappings that are looked into
FIRST = ("parameters", "steps", "seconds total", "seconds train", "seconds compile", SPEED)


def costs(run: Run) -> dict[str, float]:
    """{"parameters": 1234, "steps": 500, "seconds total": 12.5, ..., "examples per second": their median in training}.

    Numbers within a group of results.json are called by both names.
    """
    found = dict(_numbers({name: value for name, value in run.results.items() if name not in NO_COSTS}))
    rates = [row[RATE] for row in run.rows if row["split"] == "train" and math.isfinite(row.get(RATE, math.nan))]
    if rates:
        found[SPEED] = statistics.median(rates)
    return {name: found[name] for name in dict.fromkeys([*FIRST, *found]) if name in found}


def mean_costs(groups: Sequence[Group]) -> dict[str, list[float | None]]:
    """{what: its mean over the runs of each group that say it, None where none does}."""
    every = [[costs(run) for run in group.runs] for group in groups]
    names = dict.fromkeys(name for found in every for one in found for name in one)
    ordered = [*(name for name in FIRST if name in names), *(name for name in names if name not in FIRST)]
    return {name: [_mean([one[name] for one in found if name in one]) for found in every] for name in ordered}


def _mean(values: Sequence[float]) -> float | None:
    return None if not values else values[0] if len(set(values)) == 1 else sum(values) / len(values)


def _numbers(values: Mapping[str, Any], prefix: str = "", depth: int = DEEPEST) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and depth:
            yield from _numbers(value, f"{prefix}{name} ", depth - 1)
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
            yield f"{prefix}{name}", value
