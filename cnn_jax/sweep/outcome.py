"""What came of a sweep: a table, the best configuration by validation, and that one's scores on the test split."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn_jax.evals.evaluator import digits
from cnn_jax.inspect.table import table
from cnn_jax.paths import printable
from cnn_jax.report.runs import INTERVALS
from cnn_jax.sweep import folder as folders
from cnn_jax.sweep import process
from cnn_jax.sweep.board import Board
from cnn_jax.sweep.folder import RUNS, VALIDATION, Standing, Trial
from cnn_jax.train import run_folder

FINAL, SCORES = "final", "scores.json"


class Row(NamedTuple):
    """A configuration: how many of its runs are finished, and their scores by validation, higher is better."""

    trial: Trial
    runs: Sequence[Standing]
    finished: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.finished)

    @property
    def whole(self) -> bool:
        """Whether all of its runs are finished: only then may it be the best."""
        return len(self.finished) == len(self.runs)

    @property
    def step(self) -> int:
        """The last that any of its runs was validated at."""
        return max(run.step for run in self.runs)


def ranked(board: Board) -> list[Row]:
    """The configurations that have begun: those that are finished by their mean, the best first, then the others."""
    found = []
    for trial in board.trials:
        if trial.name in board.assigned:
            runs = board.of(trial)
            found.append(Row(trial, runs, tuple(run.scores[-1] for run in runs if run.seconds)))
    return sorted(found, key=lambda row: (not row.whole, -row.mean if row.finished else float("inf"), -row.step))


def lines(board: Board) -> list[str]:
    """The table, and which configuration is the best."""
    rows = ranked(board)
    chosen = next((run.criterion for row in rows for run in row.runs if run.criterion), None)
    name, sign = (chosen.name, chosen.sign) if chosen else ("score", 1)
    cells = [
        (row.trial.name, _n(row), _mean(row, sign), f"{row.step:,}", _seconds(row), _note(board, row)) for row in rows
    ]
    said = table(("configuration", "n", f"{VALIDATION} {name}", "step", "seconds", ""), cells).splitlines()
    if any(len(row.finished) > 1 for row in rows):
        said.append("±: standard deviation over n seeds")
    if best := best_of(rows):
        said.append(f"best by {VALIDATION}: {best.trial.name} ({board.folder / RUNS / best.trial.name})")
    return said


def best_of(rows: Sequence[Row]) -> Row | None:
    """The best of those of which all runs are finished, None where there is none."""
    return rows[0] if rows and rows[0].whole and rows[0].mean > -float("inf") else None


def _n(row: Row) -> str:
    return f"{len(row.finished)}" if row.whole else f"{len(row.finished)} of {len(row.runs)}"


def _mean(row: Row, sign: int) -> str:
    if not row.finished:
        return "–"
    return _spread([sign * score for score in row.finished])


def _spread(values: Sequence[float]) -> str:
    if not all(map(math.isfinite, values)):
        return "not finite"
    mean = digits(statistics.fmean(values))
    return f"{mean} ± {statistics.stdev(values):.4f}" if len(values) > 1 else mean


def _seconds(row: Row) -> str:
    found = [run.seconds for run in row.runs if run.seconds]
    return f"{statistics.fmean(found):,.0f}" if found else "–"


def _note(board: Board, row: Row) -> str:
    failed = [run for run in row.runs if run.failed]
    if failed:
        several = f" ({len(failed)} of {len(row.runs)})" if len(row.runs) > 1 else ""
        return printable(f"failed{several}: {failed[0].failed[:80]}")
    if row.whole:
        return ""
    rungs = min(len(run.scores) for run in row.runs)
    if not rungs:
        return "not finished"
    scores = [run.criterion.sign * run.scores[rungs - 1] for run in row.runs if run.criterion]
    return f"stopped at rung {rungs} of {len(board.sweep.rungs)}, at {_spread(scores)}"


def final(board: Board) -> list[str]:
    """Scores the best configuration by validation on the test split, once, and says what came of it.

    The choice is written before the test split is read, and stands from then on.

    Raises ValueError where nothing is finished, or a run cannot be scored.
    """
    best, path = best_of(ranked(board)), board.folder / f"{FINAL}.json"
    said = list[str]()
    if path.is_file():
        kept = run_folder.read_json(path)
        if best and kept["configuration"] != best.trial.name:
            said.append(
                f"by {VALIDATION} {best.trial.name} is the best now, but the test split has been read for another, and "
                "is read once"
            )
    elif best is None:
        raise ValueError(f"no configuration of the sweep in '{board.folder}' is finished: none can be scored")
    else:
        seeds = list(board.sweep.seeds)
        kept = {"configuration": best.trial.name, "values": best.trial.values, "seeds": seeds, "validation": best.mean}
        run_folder.write_json(path, {**kept, "test": None})
    if not kept.get("test"):
        each = [_scored(board.folder, kept["configuration"], seed) for seed in kept["seeds"]]
        names = [name for name, value in each[0].items() if isinstance(value, int | float) and name != "step"]
        kept["test"] = {name: [one[name] for one in each] for name in names}
        run_folder.write_json(path, kept)
    n = len(kept["seeds"])
    scores = ", ".join(f"{name} {_spread(values)}" for name, values in kept["test"].items() if None not in values)
    return [*said, f"test split, {kept['configuration']}, n={n}: {scores} ({path})"]


def _scored(folder: Path, name: str, seed: int) -> dict[str, Any]:
    """The scores of a run on the test split, which it is asked for by `launch.py eval` if it has not been."""
    out, run = folder / FINAL / f"seed{seed}", folder / RUNS / name / f"seed{seed}"
    if not (out / SCORES).is_file():
        said = folders.beside(out, folders.LOG)
        lock = process.claimed(folders.beside(out, folders.LOCK))
        if lock is None:
            raise ValueError(f"another process scores '{run}': wait for it")
        with lock:
            code = process.started(["eval", str(run), f"--out={out}"], said, lock, {}).wait()
        if code:
            raise ValueError(f"'{run}' cannot be scored: {process.last_line(said)} ({process.ended(code)})")
    return {key: value for key, value in run_folder.read_json(out / SCORES).items() if key != INTERVALS}
