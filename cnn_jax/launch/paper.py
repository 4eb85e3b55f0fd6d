"""What an experiment file says of a published score: the row of a table that `launch.py reproduce` fills.

A file has a function for each row, which is found by what it returns:

    def two_layers() -> Reproduction:
        '''Two convolutions, 83,466 parameters.'''
        paper = Paper("top1", 0.9247, margin=0.005, source="...", protocol="...")
        return Reproduction(Experiment(name="table_two_layers", ...), paper, seconds=900)

It is called FILE.two_layers on the command line, or FILE alone where the function is called `reproduction`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cnn_jax.config import Experiment

TWO_CORES = "2 CPU cores"


class Paper(NamedTuple):
    """A published score, and how near to it counts as reached, stated before anything is run.

    score: its name among those of the test split, or of the validation split where no test split is published; more of
    it is better. value: as published. margin: of the same unit; the score is reproduced where the 95 % interval of the
    mean over seeds lies within value ± margin.
    source: who published it, and where. protocol: in what their training and scoring and ours agree and differ.
    """

    score: str
    value: float
    margin: float
    source: str
    protocol: str


class Reproduction(NamedTuple):
    """A row: an experiment, and the score that it is to reach.

    seconds: that one seed takes, on the devices `on`. seeds: how many are trained unless others are asked for, from 0
    on: as many as the margin needs.
    of_seed: what else is another with another seed, as `config.changed` takes it: where a paper has the mean of a
      cross-validation, a fold for each seed.
    """

    experiment: Experiment
    paper: Paper
    seconds: float
    seeds: int = 3
    on: str = TWO_CORES
    of_seed: Callable[[int], Mapping[str, Any]] = lambda seed: {}

    @property
    def here(self) -> bool:
        """Whether it is made for a machine like any, and not for accelerators."""
        return self.on == TWO_CORES
