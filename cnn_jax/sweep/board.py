"""What a sweep does next: a function of what its folder says, and of what is under way."""

import statistics
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_jax.sweep import folder as folders
from cnn_jax.sweep import halving, tpe
from cnn_jax.sweep.folder import DIVERGED, TPE, TRIAL, Standing, Sweep, Trial
from cnn_jax.train import run_folder


class Job(NamedTuple):
    """A run that is to be trained up to a rung, the last of which is the whole training."""

    trial: Trial
    seed: int
    rung: int

    @property
    def words(self) -> str:
        """What it is called."""
        return f"{self.trial.name} seed {self.seed}"


class Board:
    """The configurations of a sweep and how far their runs are.

    assigned: the rung up to which each configuration is to be trained, by its name. busy: the (name, seed) under way.
    full: whether nothing new is proposed any more.
    """

    def __init__(self, folder: Path, sweep: Sweep) -> None:
        self.folder, self.sweep = folder, sweep
        self.trials = folders.trials(folder, sweep)
        self.full = sweep.method != TPE
        self.busy = set[tuple[str, int]]()
        self.runs: dict[tuple[str, int], Standing] = {}
        self.assigned: dict[str, int] = {}
        for trial in self.trials:
            self._begin(trial)
            for seed in sweep.seeds:
                found = self.look(trial, seed)
                # A training comes to the same end again where it diverged; anything else may have been mended.
                if found.failed and found.code != DIVERGED:
                    self.runs[trial.name, seed] = found._replace(failed="", code=0)
            if (folders.run_of(folder, trial, 0).parent / TRIAL).is_file():
                ahead = max(len(self.runs[trial.name, seed].scores) for seed in sweep.seeds)
                self.assigned[trial.name] = max(0, ahead - 1)

    def _begin(self, trial: Trial) -> None:
        for seed in self.sweep.seeds:
            self.runs[trial.name, seed] = Standing()

    def look(self, trial: Trial, seed: int) -> Standing:
        """How far a run is, read from its folder."""
        found = folders.standing(folders.run_of(self.folder, trial, seed), self.sweep)
        self.runs[trial.name, seed] = found
        return found

    def of(self, trial: Trial) -> list[Standing]:
        """How far the runs of a configuration are, by seed."""
        return [self.runs[trial.name, seed] for seed in self.sweep.seeds]

    def next(self) -> Job | None:
        """What is to be trained next: of what has begun, then what goes on to the next rung, then a new one."""
        if job := self._open():
            return job
        done = scores(self.sweep, {trial.name: self.of(trial) for trial in self.trials if trial.name in self.assigned})
        if (name := halving.promoted(done, self.assigned, self.sweep.eta)) is not None:
            self.assigned[name] += 1
            return self.next()
        new = next((trial for trial in self.trials if trial.name not in self.assigned), None) or self._proposed()
        if new is None:
            return None
        self.assigned[new.name] = 0
        return self.next()

    def _open(self) -> Job | None:
        for trial in self.trials:
            for seed in self.sweep.seeds:
                run, rung = self.runs[trial.name, seed], self.assigned.get(trial.name, -1)
                if len(run.scores) <= rung and not run.failed and (trial.name, seed) not in self.busy:
                    return Job(trial, seed, rung)
        return None

    def _proposed(self) -> Trial | None:
        if self.full or len(self.trials) >= self.sweep.trials:
            return None
        tried = [tpe.Tried(trial.values, self.of(trial)) for trial in self.trials]
        values = tpe.proposed(self.sweep.axes, tried)
        if values is None:
            self.full = True
            count = f"{len(self.trials)} of {self.sweep.trials} configurations"
            warnings.warn(f"TPE proposes nothing new after {count}: widen what is swept for more", stacklevel=2)
            return None
        trial = Trial(len(self.trials), values)
        self.trials.append(trial)
        self._begin(trial)
        return trial

    def record(self, trial: Trial) -> None:
        """Writes what a configuration is, before its first run begins."""
        path = folders.run_of(self.folder, trial, 0).parent / TRIAL
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            run_folder.write_json(path, trial._asdict())


def scores(sweep: Sweep, runs: Mapping[str, Sequence[Standing]]) -> list[dict[str, float]]:
    """Of each rung the mean scores, over the seeds, of the configurations of which all runs have come to it.

    One of which a run has failed has -inf at the rung that it was on the way to.
    """
    found: list[dict[str, float]] = [{} for _ in (*sweep.rungs, "end")]
    for name, standings in runs.items():
        for rung, done in enumerate(found):
            if all(len(one.scores) > rung for one in standings):
                done[name] = statistics.fmean(one.scores[rung] for one in standings)
            else:
                if any(one.failed for one in standings):
                    done[name] = -float("inf")
                break
    return found
