"""Runs side by side in words: final scores, how sure their differences are, and what the runs differ in."""

import csv
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.spec import INDEX
from cnn_jax.evals import bootstrap, seeds
from cnn_jax.evals.classification import MEANS, per_example
from cnn_jax.evals.evaluator import Score, digits
from cnn_jax.inspect.table import table
from cnn_jax.paths import printable
from cnn_jax.report.costs import costs, mean_costs
from cnn_jax.report.runs import MISSING, TEST, VALIDATION, Group, Run, differing, scored_at, varying
from cnn_jax.train import run_folder

LOGITS, LABEL = "logits", "label"  # an output of classifiers, and the role of what they predict
LARGEST_OUTPUTS = 2 * 2**30  # bytes of a file of outputs that is read
OWN_MODULES = re.compile(r"\bcnn_jax\.(\w+\.)+(?=\w)")
SHOWN = 160  # characters of a value that differs
HINT = "--config.evaluate.outputs=true keeps what a paired interval needs"


def lines(groups: Sequence[Group], found: Sequence["Difference"]) -> list[str]:
    """All that is said of one or more groups; found: their `differences`."""
    if len(groups) == len(groups[0].runs) == 1:
        return _one(groups[0].label, groups[0].runs[0])
    said = [*_scores(groups), ""]
    if len(groups) > 1:
        said += [*_worded(found, groups), "", *_what_differs(groups)]
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
    return [*table(heads, rows).splitlines(), "; ".join([scored_at(groups), interval_of(groups)])]


def interval_of(groups: Sequence[Group]) -> str:
    """What the scores of these groups and their intervals are, in words."""
    counts = [len(group.runs) for group in groups]
    of_one = "95 % interval over the examples of the split, of one run"
    of_more = "the mean over n seeds and its 95 % interval (Student's t)"
    return f"[...]: {'; '.join([of_more] * (max(counts) > 1) + [of_one] * (min(counts) == 1))}"


def _cell(group: Group, split: str, name: str) -> str:
    score, count = group.score(split, name), len(group.values(split, name))
    if score is None:
        return MISSING
    return _number(score) + (f" (n={count})" if count < len(group.runs) else "")


def _worded(found: Sequence["Difference"], groups: Sequence[Group]) -> list[str]:
    first, name = groups[0], printable(groups[0].runs[0].headline)
    hint = f" ({HINT})" if any(difference.unpaired for difference in found) else ""
    rows = [(group.label, *difference[:2]) for group, difference in zip(groups[1:], found, strict=True)]
    below = table(("run", "difference", ""), rows).splitlines()[1:]
    return [f"{name} compared with {first.label}{hint}:", *(f"  {line}" for line in below)]


class Difference(NamedTuple):
    """What the headline of a group has more than that of the first, and how sure that is, in words.

    unpaired: that both are single runs which did not keep what a paired interval needs.
    """

    gain: str
    words: str
    unpaired: bool = False


def differences(groups: Sequence[Group]) -> list[Difference]:
    """Of each group but the first, from the first."""
    first, *others = groups
    name, said = first.runs[0].headline, list[Difference]()
    for group in others:
        split = shared_split(first, group, name)
        if split is None:
            said.append(Difference(MISSING, f"not scored by {printable(name)} on the same split"))
            continue
        less, more = first.values(split, name), group.values(split, name)
        gain, unpaired = float(np.mean(more) - np.mean(less)), False
        if first.runs[0].fingerprint != group.runs[0].fingerprint:
            words = "of other data: no difference of the runs alone"
        elif len(first.runs) == len(group.runs) == 1:
            words, unpaired = _sureness(first.runs[0], group.runs[0], split, name)
        elif min(len(less), len(more)) == 1:
            words = f"of {len(more)} and {len(less)} seeds: of one seed there is no spread"
        else:
            _, low, high = seeds.difference(less, more)
            words = f"95 % interval {low:+.4f} to {high:+.4f} over {len(more)} and {len(less)} seeds (Welch)"
        said.append(Difference(f"{gain:+.4f}", words, unpaired))
    return said


def shared_split(a: Group, b: Group, name: str) -> str | None:
    """The test split, or else the validation split, if both have the score on it."""
    return next((split for split in (TEST, VALIDATION) if a.values(split, name) and b.values(split, name)), None)


def _sureness(a: Run, b: Run, split: str, name: str) -> tuple[str, bool]:
    """How sure the difference of two single runs is, and whether what a paired interval needs was not kept."""
    found = paired(a, b, split, name)
    if found is not None:
        return f"paired 95 % interval {found.low:+.4f} to {found.high:+.4f} over {found.examples:,} examples", False
    one, other = a.scores[split][name], b.scores[split][name]
    if None in (one.low, one.high, other.low, other.high):
        return "without intervals", True
    apart = one.high < other.low or other.high < one.low  # type: ignore[operator]
    return f"the 95 % intervals {'do not overlap' if apart else 'overlap, which leaves open which is better'}", True


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
    folder = run.folder / run_folder.OUTPUTS
    try:
        targets = [key for key, field in run.data.get("targets", {}).items() if field.get("role") == LABEL]
        logits, labels, index = (_array(folder / f"{part}.npy") for part in (LOGITS, *targets[:1], INDEX))
        known = (index >= 0) & (labels >= 0)
        order = np.argsort(index[known], kind="stable")
        terms = per_example(logits[known], labels[known])[name][order]
    except (ValueError, TypeError, AttributeError, IndexError, OSError):
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
            text = brief(value)
            others = value == usual and len(labels) > 3
            said.append(f"    {text}   ({f'the other {len(labels)}' if others else ', '.join(labels)})")
    return said


def brief(value: str) -> str:
    """A value as it is shown: of names of this project the end, by which they are found, and nothing at length."""
    text = printable(OWN_MODULES.sub("", value)) or "''"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def write_csv(groups: Sequence[Group], path: Path) -> None:
    """A row for each run: its scores with their intervals, what it cost, and what the groups differ in."""
    scored, fields = columns(groups), {name: values for name, values in varying(groups).items() if name != "seed"}
    heads = [f"{split} {name}{end}" for split, name in scored for end in ("", " low", " high")]
    paid = list(mean_costs(groups))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(map(_no_formula, ["group", "folder", "seed", *heads, "step", *paid, *fields]))
        for number, group in enumerate(groups):
            own = [values[number] for values in fields.values()]
            for run in group.runs:
                scores = [run.scores.get(split, {}).get(name, Score(math.nan)) for split, name in scored]
                numbers = ["" if n is None or not math.isfinite(n) else n for score in scores for n in score]
                spent = costs(run)
                facts = [run.step, *(spent.get(name, "") for name in paid)]
                names = (group.label, printable(run.folder))
                rows.writerow([*map(_no_formula, names), run.seed, *numbers, *facts, *map(_no_formula, own)])


def _no_formula(text: str) -> str:
    """A text of a stranger's as a cell that no spreadsheet computes: after an apostrophe, unless it is a number."""
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
