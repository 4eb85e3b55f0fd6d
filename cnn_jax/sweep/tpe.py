"""Optuna's tree-structured Parzen estimator (TPE), which proposes configurations by the scores of those before.

Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (NeurIPS 2011). A study is made anew, in memory, for each
proposal from what the run folders say, so nothing is left running or counted twice where a sweep was killed; Optuna's
journal is a file made for its dashboard, which the sweep never reads.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from cnn_jax.sweep.folder import Standing
from cnn_jax.sweep.space import Axis, Range, Values, digest

JOURNAL = "optuna.journal"
TRIES = 50  # proposals in a row that were there before
MISSING = "--method=tpe needs Optuna: pip install 'cnn_jax[sweep]'"


class Tried(NamedTuple):
    """A configuration that has begun, and how far its runs are."""

    values: Values
    runs: Sequence[Standing]


def optuna() -> ModuleType:
    """The package. Raises ImportError, with what to install, where it is missing."""
    try:
        import optuna
    except ImportError:
        raise ImportError(MISSING) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def proposed(axes: Mapping[str, Axis], tried: Sequence[Tried]) -> Values | None:
    """The values that are tried next, the same for the same past; None where nothing new is proposed."""
    package, known = optuna(), {digest(one.values) for one in tried}
    for number in range(TRIES):
        sampler = package.samplers.TPESampler(seed=len(tried) + 1_000_000 * number, constant_liar=True)
        study = package.create_study(direction="maximize", sampler=sampler)
        study.add_trials([_frozen(axes, one) for one in tried])
        found = study.ask(_distributions(axes)).params
        values = {
            name: one.as_used(found[name]) if isinstance(one, Range) else found[name] for name, one in axes.items()
        }
        if digest(values) not in known:
            return values
    return None


def write_journal(path: Path, name: str, axes: Mapping[str, Axis], tried: Sequence[Tried]) -> None:
    """Writes Optuna's journal of what has been tried, in place of the one before."""
    package, fresh = optuna(), path.with_name(f"{path.name}.tmp")
    fresh.unlink(missing_ok=True)
    storage = package.storages.JournalStorage(package.storages.journal.JournalFileBackend(str(fresh)))
    study = package.create_study(study_name=name, direction="maximize", storage=storage)
    study.add_trials([_frozen(axes, one) for one in tried])
    fresh.replace(path)


def _frozen(axes: Mapping[str, Axis], one: Tried) -> Any:
    """A configuration as Optuna knows it: complete, failed, or with the rungs that it has come to, or under way."""
    state = optuna().trial.TrialState
    rungs = min(len(run.scores) for run in one.runs)
    means = {rung: statistics.fmean(run.scores[rung] for run in one.runs) for rung in range(rungs)}
    about: dict[str, Any] = {"params": one.values, "distributions": _distributions(axes)}
    last = means.get(rungs - 1, math.nan)
    if any(run.failed for run in one.runs) or last == -math.inf:
        return optuna().create_trial(state=state.FAIL, **about)
    if all(run.seconds for run in one.runs):
        return optuna().create_trial(state=state.COMPLETE, value=last, **about)
    if rungs:
        return optuna().create_trial(state=state.PRUNED, intermediate_values=means, **about)
    return optuna().create_trial(state=state.RUNNING, **about)


def _distributions(axes: Mapping[str, Axis]) -> dict[str, Any]:
    kinds = optuna().distributions
    found: dict[str, Any] = {}
    for name, one in axes.items():
        if not isinstance(one, Range):
            found[name] = kinds.CategoricalDistribution(one)
        elif one.whole:
            found[name] = kinds.IntDistribution(int(one.low), int(one.high), log=one.log)
        else:
            found[name] = kinds.FloatDistribution(one.low, one.high, log=one.log)
    return found
