"""The project from Python: `cnn_jax.load`, `train`, `create_model` and `list_models`, thin over what the verbs use.

What is wrong is a ValueError or FileNotFoundError of one line, what was guessed or left out a warning; nothing ends
the process. As the command line does, `load` and `train` make each core of a CPU a device, ask XLA for the order of
operations that needs least memory, and keep compiled programs on disk (CNN_JAX_CACHE=off keeps none). What differs:

- XLA reads its flags once, when JAX is first used. Where that was before, a CPU is one device, and a training step on
  it takes somewhat longer; XLA_FLAGS in the environment always has the last word.
- Huge pages are asked for when a process starts, so a script or notebook does without them, which costs up to a third
  of a training step on a CPU: start Python with GLIBC_TUNABLES=glibc.malloc.hugetlb=1 to have them.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import IOBase
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from cnn_jax import compilation_cache, report
from cnn_jax import config as configuration
from cnn_jax.batch import Batch
from cnn_jax.config import Experiment
from cnn_jax.data.access import threads
from cnn_jax.data.files import example_of, reads_pictures
from cnn_jax.data.inputs import batch_size, in_parts
from cnn_jax.data.placement import Placement
from cnn_jax.data.spec import Spec
from cnn_jax.inspect.stages import feature_names
from cnn_jax.inspect.variants import list_models
from cnn_jax.launch import cli, own_run, training
from cnn_jax.lookup import EXPERIMENT, describe, did_you_mean
from cnn_jax.paths import written
from cnn_jax.train import predictor
from cnn_jax.train.predictor import Predictor
from cnn_jax.train.state import Tree
from cnn_jax.weights.published import create_model

__all__ = ["LoadedModel", "Trained", "create_model", "list_models", "load", "train"]


class LoadedModel(NamedTuple):
    """A trained model that can be asked.

    predictor: the model as evaluation, prediction and export take it. step: of its checkpoint, 0 for imported weights.
    config: of its training, None for imported weights.
    """

    predictor: Predictor
    step: int
    config: Experiment | None

    def __repr__(self) -> str:
        spec = self.predictor.spec
        return f"LoadedModel(of {spec.name}, {len(spec.classes)} classes, step {self.step})"

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the order of the logits."""
        return self.predictor.spec.classes

    def predict(self, inputs: Any, *, convert: bool = False) -> Any:
        """What the model says of one input, or the list of that for several.

        Of a classifier each result has `names` and `probabilities` of all classes, the most probable first, and of that
        one `name` and `probability`. Of a detector it has `boxes`, `names` and `scores`; of a segmenter `class_map`,
        `names` and `shares` of the classes in it, and `mask(name)`; of one of single objects `instance_map`,
        `polygons`, `scores`, `areas` and `mask(number)`; all in pixels of the picture as it was given. Tasks of one's
        own have results of their own, see the `result` of their reports.

        Args:
          inputs: a path; a picture of Pillow; an image [H, W, C] or [H, W] of bytes (uint8, 0 to 255), which is brought
            to the model's size as in training, or is taken as it is where it has that size; for a model of signals, or
            other arrays of floats, such an array. Or several of them: a list, any iterable, or an array [N, ...].
          convert: resize, crop and recolour images where the model was trained on arrays of one size.

        Raises FileNotFoundError or ValueError, in one line, for the first input that cannot be read.
        """
        task, spec = self.predictor.task, self.predictor.spec
        reporter, single = report.of(task.report), _is_one(inputs, spec)
        said = self._computed(task.predict, [inputs] if single else inputs, convert)
        results = [reporter.result(outputs, spec, placement) for outputs, placement in said]
        return results[0] if single else results

    def features(self, inputs: Any, *names: str, convert: bool = False) -> Any:
        """The model's feature maps of one input, {name: [*spatial, C]}, or of several, {name: [N, *spatial, C]}.

        inputs, convert: as in `predict`. names: which, as "stage3", or "pooled", the vector that the last layer reads;
        with one name its array comes alone, without a name all of them. Each choice is compiled once for each size.

        Raises ValueError, with the nearest name, for one that the model does not have.
        """
        model, spec = self.predictor.model, self.predictor.spec
        known = feature_names(model, spec.input.shape)
        for name in names:
            if name not in known:
                raise ValueError(f"the model has no feature map '{name}': {did_you_mean(name, known)}")
        single = _is_one(inputs, spec)
        function = predictor.features(model, spec.prepare, next(iter(spec.inputs)), names or tuple(known))
        rows = [row for row, _ in self._computed(function, [inputs] if single else inputs, convert)]
        if not rows:
            raise ValueError("features of no inputs: give at least one")
        found = {name: rows[0][name] if single else np.stack([row[name] for row in rows]) for name in rows[0]}
        return found[names[0]] if len(names) == 1 else found

    def _computed(
        self, function: Callable[[Tree, Batch], Any], inputs: Iterable[Any], convert: bool
    ) -> Iterator[tuple[dict[str, np.ndarray], Placement | None]]:
        """What a function of (variables, batch) makes of each input, and where a picture lies in it."""
        spec = self.predictor.spec
        size = batch_size(spec)
        read = functools.partial(example_of, spec=spec, convert=convert)
        for part in in_parts(inputs, size):
            examples = list(threads().map(read, part))
            outputs = predictor.said_of_each(self.predictor, function, examples, size)
            yield from zip(outputs, (placement for _, placement in examples), strict=True)


def _is_one(inputs: Any, spec: Spec) -> bool:
    """Whether one input is given, and not several."""
    if isinstance(inputs, str | Path | Image.Image):
        return True
    if not hasattr(inputs, "shape"):
        if isinstance(inputs, bytes | bytearray | Mapping | IOBase) or not isinstance(inputs, Iterable):
            kind = type(inputs).__name__
            raise ValueError(f"an input is of the type {kind}: give a path, a picture of Pillow, an array or a list")
        return False
    dimensions, own = len(inputs.shape), len(spec.input.shape)
    return dimensions == own or (dimensions == own - 1 and (reads_pictures(spec) or spec.input.shape[-1] == 1))


def load(folder: str | Path, checkpoint: str | int | None = None) -> LoadedModel:
    """The model of a run folder, or of a folder of imported weights.

    checkpoint: "last", "best" (by validation), a step, or None: the one that the scores of the run are of.

    The run's experiment.py is run only where its configuration names functions of it, which a warning says.
    Raises FileNotFoundError or ValueError, in one line, where there is no such folder or no good checkpoint.
    """
    _set_up()
    which = None if checkpoint is None else str(checkpoint)
    # One device, as for the verb: for a few examples a program for several takes longer to compile than it saves.
    opened = predictor.load(written(folder), which, devices=jax.devices()[:1])
    return LoadedModel(opened.predictor, opened.step, opened.config)


class Trained(NamedTuple):
    """folder: of the run, for `load` and the verbs. scores: the final ones, and the seconds it took."""

    folder: Path
    scores: dict[str, float]


def train(experiment: Experiment | str | Path, workdir: str | Path | None = None, **settings: Any) -> Trained:
    """Trains, or goes on training, the run of an experiment, and scores it on the test split.

    Args:
      experiment: an `Experiment`, the name or path of an experiment's file, a run folder, which goes on, or a folder of
        class folders of pictures, for which a recipe is chosen. Its functions need names, as in a file: those that a
        notebook or a script defines itself cannot be recorded in the run folder, and are an error.
      workdir: the run's folder, by default runs/NAME; a run that is there and not complete is gone on with.
      settings: fields with other values: train("digits", duration="5 epochs", **{"optim.lr": 0.001}). Functions may be
        given by their names, as on the command line.

    Ctrl-C and SIGTERM save and raise `cnn_jax.train.preempt.Preempted`: the same call goes on. Only the main thread of
    a process may train.

    Raises ValueError or FileNotFoundError, in one line, for settings that do not fit, and what diverged is
    `cnn_jax.train.loop.Diverged`.
    """
    _set_up()
    if isinstance(experiment, str | Path):
        given = {name: describe(value) if callable(value) else str(value) for name, value in settings.items()}
        with own_run.opened(str(experiment), given, workdir) as (file, found, place):
            return _trained(found, file, place if workdir is None else workdir, settings)
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{experiment!r} is no experiment: give a cnn_jax.config.Experiment, or the name of a file")
    return _trained(experiment, None, workdir, settings)


def _trained(
    experiment: Experiment, file: Path | None, workdir: str | Path | None, settings: Mapping[str, Any]
) -> Trained:
    config = configuration.changed(experiment, settings)
    configuration.check(config)
    if file is None and EXPERIMENT in sys.modules and f"{EXPERIMENT}." in str(configuration.to_json(config)):
        file = Path(str(sys.modules[EXPERIMENT].__file__))
    folder = written(f"runs/{config.name}" if workdir is None else workdir)
    return Trained(folder, training.train(config, folder, file))


@functools.cache
def _set_up() -> None:
    cli.prepare_libraries()
    compilation_cache.turn_on()
