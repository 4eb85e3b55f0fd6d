"""A model that can be asked: what evaluation, prediction, explanation and export take, and nothing more.

It is made of a run folder or of published weights, and needs neither optimizer nor training data.
"""

import functools
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load_file

from cnn_jax import config as configuration
from cnn_jax.batch import Batch, normalised
from cnn_jax.config import Evaluate, Experiment, Model
from cnn_jax.data import spec as specs
from cnn_jax.data.batches import in_turn
from cnn_jax.data.placement import Placement, as_vector
from cnn_jax.data.prepare import Prepare
from cnn_jax.data.spec import Spec
from cnn_jax.data.text import TextPrepare
from cnn_jax.lookup import EXPERIMENT, Function, describe, lookup, modules_of
from cnn_jax.lookup import load_file as load_python
from cnn_jax.models.heads import features_of
from cnn_jax.ops.once import once
from cnn_jax.tasks.task import Sums, Task
from cnn_jax.train import checkpoint, earlier, mesh, run_folder
from cnn_jax.train.state import Tree

Arrays = Mapping[str, np.ndarray]
Forward = Callable[[Tree, Arrays], Any]
Compiled = Callable[[Callable[[Tree, Batch], Any]], Forward]
SHOWN = 5  # run folders that are named where a folder is none


class Predictor(NamedTuple):
    """spec: of the data that the model reads. task: what it says of them. variables: as the task's functions take them.

    model: the module that the task was made of, which takes the same variables.
    compiled: a pure function of (variables, batch) -> the same for NumPy arrays, on the predictor's devices; asked
      twice for one function, it compiles once. devices: how many there are; they must divide a batch.
    """

    spec: Spec
    model: nn.Module
    task: Task
    variables: Tree
    compiled: Compiled
    devices: int


class Opened(NamedTuple):
    """A predictor read from a folder: the step of its checkpoint, and the configuration of the run, if it was one."""

    predictor: Predictor
    step: int
    config: Experiment | None
    evaluate: Evaluate


def make_model(model: Model, precision: str, spec: Spec) -> nn.Module:
    """The model of an experiment, for the classes of `spec`, and the vocabulary where it has texts."""
    settings = {"classes": len(spec.classes), "dtype": jnp.dtype(precision)}
    if not isinstance(spec.prepare, TextPrepare):
        return model.build(**settings)
    try:
        return model.build(**settings, vocabulary=spec.prepare.symbols)
    except (TypeError, ValueError) as error:
        if "vocabulary" not in str(error):
            raise
        text = describe(model.build)
        raise ValueError(
            f"'{spec.name}' has texts, which {text} does not read: name a model of texts, as textcnn"
        ) from None


def compiler(spec: Spec, devices: list[jax.Device], convolution: str, *, bounded: bool = False) -> Compiled:
    """`Predictor.compiled` for these devices."""
    return functools.cache(lambda function: mesh.forward(function, spec.fields, devices, convolution, bounded=bounded))


def _saying(compiled: Compiled, file: Path) -> Compiled:
    """The same with `said_of` around each call, which is where a function is traced."""

    def of(function: Callable[[Tree, Batch], Any]) -> Forward:
        forward = compiled(function)

        def call(variables: Tree, batch: Mapping[str, np.ndarray]) -> Any:
            with said_of(file):
                return forward(variables, batch)

        return call

    return functools.cache(of)


def predict(predictor: Predictor, inputs: Mapping[str, np.ndarray], batch_size: int = 64) -> dict[str, np.ndarray]:
    """What the model says of examples, {input: [N, ...]} -> {output: [N, ...]}, in batches of at most `batch_size`."""
    return computed(predictor, predictor.task.predict, inputs, batch_size)


def computed(
    predictor: Predictor,
    function: Callable[[Tree, Batch], Any],
    inputs: Mapping[str, np.ndarray],
    batch_size: int = 64,
) -> dict[str, np.ndarray]:
    """The same of another pure function of (variables, batch); pass the same one again, and it is compiled once.

    Batches are of a power of 2 of examples for each device, so that few sizes have to be compiled: what is missing in
    the last one is the last example, repeated.
    """
    count = len(next(iter(inputs.values())))
    share = -(-count // predictor.devices)  # of each device
    size = predictor.devices * max(1, min(1 << (share - 1).bit_length(), batch_size // predictor.devices))
    forward = partial(predictor.compiled(function), predictor.variables)

    def batch(start: int) -> dict[str, np.ndarray]:
        rows = np.arange(start, start + size)
        taken = {name: array[np.minimum(rows, count - 1)] for name, array in inputs.items()}
        return {**taken, specs.VALID: (rows < count).astype(np.float32)}

    parts = []
    for taken, outputs in computed_in_turn(forward, map(batch, range(0, count, size))):
        real = taken[specs.VALID] > 0
        parts.append(jax.tree.map(lambda array, real=real: array[real], outputs))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def computed_in_turn(forward: Callable[[Arrays], Any], batches: Iterable[Arrays]) -> Iterator[tuple[Arrays, Any]]:
    """Each of `batches` with what `forward` makes of it, as NumPy arrays; the next one is under way by then.

    Of several processes each has the rows of its own part of the batch.
    """

    def begun(batch: Arrays) -> Callable[[], tuple[Arrays, Any]]:
        outputs = forward(batch)
        return lambda: (batch, mesh.rows_here(outputs))

    return in_turn(map(begun, batches))


def said_of_each(
    predictor: Predictor,
    function: Callable[[Tree, Batch], Any],
    examples: Sequence[tuple[np.ndarray, Placement | None]],
    batch_size: int = 64,
) -> list[dict[str, np.ndarray]]:
    """The same of examples as they are read, [*shape] each, with where a picture lies in it: {output: [...]} of each.

    Those of one shape are computed together; each further shape is compiled anew. Of one that is several [W, *shape],
    as a long sound, the outputs are the means of theirs.
    """
    dimensions = len(predictor.spec.input.shape)
    if any(example.ndim > dimensions for example, _ in examples):
        parts = [example if example.ndim > dimensions else example[None] for example, _ in examples]
        each = iter(said_of_each(predictor, function, [(one, None) for part in parts for one in part], batch_size))
        found_of = [[next(each) for _ in part] for part in parts]
        return [{key: np.mean([one[key] for one in part], 0) for key in part[0]} for part in found_of]
    inputs = predictor.spec.inputs
    name = next(iter(inputs))
    where = [key for key, field in inputs.items() if field.role == "placement"]
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, (example, _) in enumerate(examples):
        groups.setdefault(example.shape, []).append(place)
    found: dict[int, dict[str, np.ndarray]] = {}
    for shape, places in groups.items():
        arrays = {name: np.stack([examples[place][0] for place in places])}
        if where:
            whole = Placement(shape[:2], shape[:2])  # type: ignore[arg-type]
            arrays[where[0]] = np.stack([as_vector(examples[place][1] or whole) for place in places])
        outputs = computed(predictor, function, arrays, batch_size)
        found |= {place: {key: array[row] for key, array in outputs.items()} for row, place in enumerate(places)}
    return [found[place] for place in range(len(examples))]


@functools.lru_cache(maxsize=16)
def features(model: nn.Module, prepare: Prepare, name: str, wanted: tuple[str, ...]) -> Callable[[Tree, Batch], Any]:
    """(variables, batch) -> {feature: [B, ...]} of the features `wanted` of a model that reads the input `name`."""

    def function(variables: Tree, batch: Batch) -> dict[str, jax.Array]:
        found = features_of(model.apply(variables, normalised(batch.scaled()[name], prepare), train=False))
        return {name: found[name] for name in wanted}

    return function


@functools.lru_cache(maxsize=16)
def scored(task: Task) -> Callable[[Tree, Batch], tuple[dict[str, jax.Array], Sums]]:
    """(variables, batch) -> the task's outputs, and the sums of its loss as arrays [1] of this device's examples."""

    def function(variables: Tree, batch: Batch) -> tuple[dict[str, jax.Array], Sums]:
        _, _, sums = task.loss(variables, batch, jax.random.key(0), False)
        return task.predict(variables, batch), jax.tree.map(lambda value: jnp.reshape(value, 1), sums)

    return once(function)  # both apply the model


class Stored(NamedTuple):
    """What a folder holds of a model: its data's description, and its variables by path, as 'params/conv1/kernel'.

    proof: the file that changes whenever they do.
    """

    spec: Spec
    variables: dict[str, np.ndarray]
    step: int
    proof: Path


def stored_variables(folder: Path, which: str | None = None) -> Stored:
    """The variables to evaluate of the checkpoint 'last', 'best' or of a step, or those of imported weights.

    None means the one that the final scores of the run are of: the last, or with patience the best by validation.

    Raises FileNotFoundError or ValueError where there is no such folder or no good checkpoint.
    """
    spec = read_spec(folder)
    if (file := folder / run_folder.VARIABLES).is_file():
        try:
            return Stored(spec, load_file(file), 0, file)
        except (SafetensorError, AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"'{file}' is damaged: {error}") from None
    checkpoints = folder / run_folder.CHECKPOINTS
    step = run_folder.checkpoint_step(checkpoints, which or run_folder.checkpoint_scored(folder))
    variables = flatten_dict(checkpoint.restore_variables(checkpoints, step), sep="/")
    return Stored(spec, variables, step, checkpoints / f"{step}.sha256")


def load(folder: Path, which: str | None = None, *, devices: list[jax.Device] | None = None) -> Opened:
    """Reads a run folder with its checkpoint as `stored_variables` finds it, or a folder of `import`.

    Data and optimizer are not touched. The source of the experiment in the folder is run only where the configuration
    names something that is defined there.

    Raises FileNotFoundError or ValueError where there is no such folder or no good checkpoint.
    """
    spec, config = read_spec(folder), read_config(folder)
    stored = stored_variables(folder, which)
    file = folder / (run_folder.CONFIG if config else run_folder.PREDICTOR)
    build, make_task, convolution = _parts(config, spec) if config else _imported(file, spec)
    with said_of(file):
        model = build()
        task = make_task(model, spec)
        if not isinstance(task, Task):
            raise TypeError(f"{describe(make_task)} makes no task")
    devices = devices or jax.devices()
    compiled = _saying(compiler(spec, devices, convolution, bounded=True), file)
    variables = unflatten_dict(stored.variables, sep="/")
    predictor = Predictor(spec, model, task, variables, compiled, len(devices))
    return Opened(predictor, stored.step, config, config.evaluate if config else Evaluate(batch_size=64))


@contextmanager
def said_of(file: Path) -> Iterator[None]:
    """Whatever building and computing a model raises, as a ValueError that names the file which describes it."""
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:  # any kind: the parts are named by a file, and may not fit together
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0][:300]
        raise ValueError(f"the model that '{file}' describes cannot be computed: {reason}") from error


Parts = tuple[Callable[[], nn.Module], Function, str]  # what builds a model, its task, and the convolution


def _parts(config: Experiment, spec: Spec) -> Parts:
    build = partial(make_model, config.model, config.compute.precision, spec)
    return build, config.model.task, config.compute.convolution


def _imported(file: Path, spec: Spec) -> Parts:
    about = run_folder.read_json(file)
    if not isinstance(about.get("model"), str) or not isinstance(about.get("task"), str):
        raise ValueError(f"'{file}' is damaged: it names no model and task")
    try:
        build, make_task = lookup(about["model"]), lookup(about["task"])
        for function in (build, make_task):
            configuration.refuse_sources(describe(function))
    except ValueError as error:
        raise ValueError(f"'{file}': {error}") from None
    return partial(build, classes=len(spec.classes), dtype=jnp.float32), make_task, "auto"


def read_spec(folder: Path) -> Spec:
    """The description of the data in a folder.

    Raises FileNotFoundError where it is neither a run folder nor one of imported weights, ValueError if it is damaged.
    """
    if not (folder / run_folder.CONFIG).is_file() and not (folder / run_folder.PREDICTOR).is_file():
        inside = [str(path.parent) for path in sorted(folder.glob(f"*/{run_folder.CONFIG}"))]
        more = f" and {len(inside) - SHOWN} more" if len(inside) > SHOWN else ""
        hint = f", but in {', '.join(inside[:SHOWN])}{more}" if inside else ""
        raise FileNotFoundError(f"'{folder}' is not a run folder: there is no {run_folder.CONFIG} in it{hint}")
    data = run_folder.read_json(folder / run_folder.DATA)
    if earlier.is_earlier(data):
        data = earlier.upgraded(run_folder.read_json(folder / run_folder.CONFIG), data, folder)[1]
    try:
        return specs.from_json({name: value for name, value in data.items() if name != "examples"})
    except ValueError as error:
        raise ValueError(f"'{folder / run_folder.DATA}' is damaged: {error}") from None


def read_config(folder: Path) -> Experiment | None:
    """The configuration of the run in a folder, None for imported weights. Raises ValueError where it is damaged."""
    if not (folder / run_folder.CONFIG).is_file():
        return None
    data = run_folder.read_json(folder / run_folder.DATA)
    values, _ = earlier.upgraded(run_folder.read_json(folder / run_folder.CONFIG), data, folder)
    if any(EXPERIMENT in modules_of(text) for text in _described(values)):
        _load_experiment(folder)
    try:
        return configuration.from_json(values)
    except ValueError as error:
        raise ValueError(f"'{folder / run_folder.CONFIG}': {error}") from None


def _described(values: Any) -> list[str]:
    """The functions in a configuration as JSON, which are texts that another field may hold, too, as a path."""
    found = []
    for name, field in configuration.fields():
        value = values
        for word in name.split("."):
            value = value.get(word) if isinstance(value, dict) else None
        found += [value] if field.type is Function and isinstance(value, str) else []
    return found


def _load_experiment(folder: Path) -> None:
    """Runs the experiment's file in `folder`, saying so. Raises ValueError where it leads out of the folder."""
    path = folder / run_folder.SOURCE
    sys.modules.pop(EXPERIMENT, None)  # another's functions are not those meant
    if not path.is_file():
        raise ValueError(f"'{folder / run_folder.CONFIG}' names functions of '{path}', which is not there")
    if path.resolve().parent != folder.resolve():
        raise ValueError(f"'{path}' leads to '{path.resolve()}', a file outside the run folder, which is not run")
    warnings.warn(
        f"'{path}' is run, because config.json names functions of it: read it first where the run is a stranger's",
        stacklevel=3,
    )
    load_python(str(path))
