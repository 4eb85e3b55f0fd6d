"""Runs side by side in words: final scores, how sure their differences are, and what the runs differ in."""

import csv
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.spec import INDEX
from cnn_jax.evals import bootstrap
from cnn_jax.evals.classification import MEANS, per_example
from cnn_jax.evals.evaluator import Score, digits
from cnn_jax.inspect.table import table
from cnn_jax.paths import printable
from cnn_jax.report.runs import TEST, VALIDATION, Group, Run, differing, scored_at
from cnn_jax.train import run_folder

LOGITS, LABEL = "logits", "label"  # an output of classifiers, and the role of what they predict
LARGEST_OUTPUTS = 2 * 2**30  # bytes of a file of outputs that is read
OWN_MODULES = re.compile(r"\bcnn_jax\.(\w+\.)+(?=\w)")
SHOWN = 160  # characters of a value that differs
HINT = "--config.evaluate.outputs=true keeps what a paired interval needs"


def lines(groups: Sequence[Group]) -> list[str]:
    """All that is said of one or more groups."""
    if len(groups) == len(groups[0].runs) == 1:
        return _one(groups[0].label, groups[0].runs[0])
    said = [*_scores(groups), ""]
    if len(groups) > 1:
        said += [*_differences(groups), "", *_what_differs(groups)]
    return said if said[-1] else said[:-1]


def _one(label: str, run: Run) -> list[str]:
    results = run.results
    said = [
        f"{label}: {printable(run.data['name'])}, {results['parameters']:,} parameters, {results['steps']:,} steps, "
        f"{results['seconds']['total']:,.0f} s on {printable(results['devices'])}, seed {run.seed}"
    ]
    for split, scores in run.scores.items():
        said.append(f"{printable(split)}, step {run.step}:")
        said += [f"  {printable(name):12} {_number(score)}" for name, score in scores.items()]
    if results.get("best_step") is not None and results["validation"] is not None:
        said.append(f"best checkpoint by validation: of step {results['best_step']} (--checkpoint=best)")
    return said


def _number(score: Score) -> str:
    return digits(score.value) + (f" [{score.low:.4f}, {score.high:.4f}]" if score.low is not None else "")


def columns(groups: Sequence[Group]) -> list[tuple[str, str]]:
    """(split, score) of what is compared: headline and loss on each split, the headline of further evaluations."""
    runs = [run for group in groups for run in group.runs]
    splits = dict.fromkeys([TEST, VALIDATION, *(split for run in runs for split in run.scores)])
    wanted = [
        (split, name)
        for split in splits
        for name in dict.fromkeys([*(run.headline for run in runs), *(["loss"] if split in (TEST, VALIDATION) else [])])
    ]
    return [pair for pair in wanted if any(group.values(*pair) for group in groups)]


def _scores(groups: Sequence[Group]) -> list[str]:
    shown = columns(groups)
    rows = [
        (
            group.label,
            len(group.runs),
            *(_cell(group, *pair) for pair in shown),
            ", ".join(dict.fromkeys(f"{run.step:,}" for run in group.runs)),
            group.runs[0].results["parameters"],
            f"{statistics.fmean(run.results['seconds']['total'] for run in group.runs):,.0f}",
        )
        for group in groups
    ]
    heads = ("run", "n", *(printable(f"{split} {name}") for split, name in shown), "step", "parameters", "seconds")
    notes = []
    if any(len(group.runs) == 1 for group in groups):
        notes.append("[...]: 95 % interval over the examples of the split, of one run")
    if any(len(group.runs) > 1 for group in groups):
        notes.append("±: standard deviation over n seeds")
    return [*table(heads, rows).splitlines(), "; ".join([scored_at(groups), *notes])]


def _cell(group: Group, split: str, name: str) -> str:
    values = group.values(split, name)
    if len(group.runs) == 1 and values:
        return _number(group.runs[0].scores[split][name])
    if len(values) < 2:
        return f"{values[0]:.4f} (n=1)" if values else "–"
    short = f" (n={len(values)})" if len(values) < len(group.runs) else ""
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}{short}"


def _differences(groups: Sequence[Group]) -> list[str]:
    """What the headline of each group has more than that of the first, and how sure that is."""
    first, *others = groups
    name, said = first.runs[0].headline, []
    kept = True
    for group in others:
        split = shared_split(first, group, name)
        if split is None:
            said.append((group.label, "–", f"not scored by {printable(name)} on the same split"))
            continue
        less, more = first.values(split, name), group.values(split, name)
        gain = statistics.fmean(more) - statistics.fmean(less)
        if first.runs[0].fingerprint != group.runs[0].fingerprint:
            words = "of other data: no difference of the runs alone"
        elif len(less) == len(more) == 1:
            words, paired = _sureness(first.runs[0], group.runs[0], split, name)
            kept = kept and paired
        elif min(len(less), len(more)) == 1:
            words = f"of {len(more)} and {len(less)} seeds: of one seed there is no spread"
        else:
            error = math.hypot(*(statistics.stdev(values) / math.sqrt(len(values)) for values in (less, more)))
            words = f"± {error:.4f}, its standard error over {len(more)} and {len(less)} seeds"
        said.append((group.label, f"{gain:+.4f}", words))
    heading = f"{printable(name)} compared with {first.label}" + ("" if kept else f" ({HINT})")
    return [f"{heading}:", *(f"  {line}" for line in table(("run", "difference", ""), said).splitlines()[1:])]


def shared_split(a: Group, b: Group, name: str) -> str | None:
    """The test split, or else the validation split, if both have the score on it."""
    return next((split for split in (TEST, VALIDATION) if a.values(split, name) and b.values(split, name)), None)


def _sureness(a: Run, b: Run, split: str, name: str) -> tuple[str, bool]:
    """How sure the difference of two single runs is, and whether both kept what a paired interval needs."""
    found = paired(a, b, split, name)
    if found is not None:
        return f"paired 95 % interval {found.low:+.4f} to {found.high:+.4f} over {found.examples:,} examples", True
    one, other = a.scores[split][name], b.scores[split][name]
    if None in (one.low, one.high, other.low, other.high):
        return "without intervals", False
    apart = one.high < other.low or other.high < one.low  # type: ignore[operator]
    return f"the 95 % intervals {'do not overlap' if apart else 'overlap, which leaves open which is better'}", False


class Paired(NamedTuple):
    """The 95 % interval of a difference on the same examples."""

    low: float
    high: float
    examples: int


def paired(a: Run, b: Run, split: str, name: str) -> Paired | None:
    """The interval of the score of `b` minus that of `a`: a bootstrap that draws the same examples for both.

    None where a run did not keep its outputs, or these do not give the score that it wrote.
    """
    if not a.split == b.split == split or name not in MEANS:
        return None
    terms = [_terms(run, name) for run in (a, b)]
    if terms[0] is None or terms[1] is None or not np.array_equal(terms[0][0], terms[1][0]):
        return None
    index, difference = terms[0][0], terms[1][1] - terms[0][1]
    totals = bootstrap.start(1)
    for at in range(0, len(index), 8192):
        totals = bootstrap.add(totals, difference[at : at + 8192, None], index[at : at + 8192])
    return Paired(*bootstrap.interval(bootstrap.means(totals)[:, 0]), len(index))


def _terms(run: Run, name: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Positions and terms [N] of the examples of known class whose mean is the score, by the outputs that were kept."""
    targets = [key for key, field in run.data.get("targets", {}).items() if field.get("role") == LABEL]
    folder = run.folder / run_folder.OUTPUTS
    try:
        logits, labels, index = (_array(folder / f"{part}.npy") for part in (LOGITS, *targets[:1], INDEX))
        known = (index >= 0) & (labels >= 0)
        order = np.argsort(index[known], kind="stable")
        terms = per_example(logits[known], labels[known])[name][order]
    except (ValueError, TypeError, IndexError, OSError):
        return None
    return (index[known][order], terms) if abs(terms.mean() - run.scores[run.split][name].value) < 1e-6 else None


def _array(path: Path) -> NDArray[Any]:
    if not path.is_file() or path.stat().st_size > LARGEST_OUTPUTS:
        raise ValueError(f"'{path}' is no file, or larger than {LARGEST_OUTPUTS:,} bytes")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _what_differs(groups: Sequence[Group]) -> list[str]:
    found = differing(groups)
    if not found:
        return ["Nothing differs in configuration, data, devices and versions."]
    said = ["What differs:"]
    for name, values in found.items():
        said.append(f"  {printable(name)}")
        usual = max(values, key=lambda value: len(values[value]))
        for value, labels in values.items():
            # Of names of this project the end, by which they are found.
            text = printable(OWN_MODULES.sub("", value)) or "''"
            text = text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
            others = value == usual and len(labels) > 3
            said.append(f"    {text}   ({f'the other {len(labels)}' if others else ', '.join(labels)})")
    return said


def write_csv(groups: Sequence[Group], path: Path) -> None:
    """A row for each run: its scores with their intervals, and what the groups differ in."""
    shown, fields = columns(groups), [name for name in differing(groups) if name != "seed"]
    heads = [f"{split} {name}{end}" for split, name in shown for end in ("", " low", " high")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["group", "folder", "seed", *heads, "step", "steps", "parameters", "seconds", *fields])
        values = differing(groups)
        for group in groups:
            own = [_value(values[name], group.label) for name in fields]
            for run in group.runs:
                scores = [run.scores.get(split, {}).get(name, Score(math.nan)) for split, name in shown]
                numbers = ["" if n is None or not math.isfinite(n) else n for score in scores for n in score]
                facts = [run.step, run.results["steps"], run.results["parameters"], run.results["seconds"]["total"]]
                rows.writerow([group.label, printable(run.folder), run.seed, *numbers, *facts, *own])


def _value(values: Mapping[str, Sequence[str]], label: str) -> str:
    return next(value for value, labels in values.items() if label in labels)
