"""The typed description of a run: every number that makes one run differ from another is a field here.

An experiment file returns an `Experiment`; flags override its fields (`--config.optim.lr=0.2`); `check` refuses what
makes no sense; `to_json` and `from_json` carry it in and out of the run folder without loss.
"""

import dataclasses
import functools
import inspect
import math
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

from cnn_jax.evals.also import nothing
from cnn_jax.lookup import Function, describe, did_you_mean, lookup, modules_of

LARGEST = 2**31 - 1  # of whole numbers: what a device counts in
STRETCH, RESTART = "stretch", "restart"  # how the learning rate goes on in a run that is made longer
DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(steps?|epochs?|examples?|%)\s*$")
LENGTHS = "'20 epochs', '500 steps' or '60000 examples'"  # of a training
DURATIONS = "'20 epochs', '500 steps', '60000 examples' or '5%'"  # within it, of which 5% is a share


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    duration: str = "",
    called: str | None = None,
    kind: str | None = None,
) -> Any:
    """A field with its explanation and the values it may take: low <= v <= high, above < v < below, or a choice.

    A function is `called` with these arguments, and is of a `kind` of `parts.KINDS`. duration: how one is written.
    """
    metadata = dict(
        help=help,
        choices=choices,
        duration=duration,
        called=called,
        kind=kind,
        low=low,
        above=above,
        high=high,
        below=below,
    )
    return dataclasses.field(default=default, metadata=metadata)


def required(help: str, *, called: str | None = None, kind: str | None = None) -> Any:
    """A field which every experiment has to give; a function as in `setting`."""
    return dataclasses.field(metadata=dict(help=help, called=called, kind=kind))


@dataclasses.dataclass(kw_only=True)
class Data:
    """What is read."""

    source: Function = required(
        "a source, as digits, folder:PATH, npz:PATH or 'folder(PATH, size=64)'", called="", kind="sources"
    )
    validation: float = setting(0.1, "share of the training split kept for validation; 0 = none", low=0, below=1)
    batch_size: int = setting(128, "examples per step, over all devices", low=1)
    shuffle: bool = setting(True, "a new order in every epoch; false = always the order of the split")
    labels: float = setting(
        1.0, "share of the training examples used, of each class; a smaller share lies within a larger", above=0, high=1
    )


@dataclasses.dataclass(kw_only=True)
class Model:
    """What is trained."""

    build: Function = required(
        "a model, as resnet20 or wrn_16_4(dropout=0.3)", called="classes=, dtype=", kind="models"
    )
    task: Function = required("what it learns, as classify(label_smoothing=0.1)", called="model, spec", kind="tasks")


@dataclasses.dataclass(kw_only=True)
class Optim:
    """How the weights move."""

    build: Function = required(
        "sgd, adamw, adam, lion, muon or lamb, as sgd(momentum=0.9)", called="lr, weight_decay", kind="optimizers"
    )
    lr: float = required("the highest learning rate of the schedule")
    weight_decay: float = setting(0.0, "decay of the weights; never of norms and biases", low=0)
    schedule: Function = required(
        "constant, cosine, step, one_cycle or wsd, as cosine(final=0.01)",
        called="peak, steps, warmup",
        kind="schedules",
    )
    warmup: str = setting("0 steps", "linear rise of the learning rate from 0", duration=DURATIONS)
    clip: float = setting(0.0, "largest global norm of a gradient; 0 = no clipping", low=0)
    accumulate: int = setting(1, "parts into which a batch is cut to save memory", low=1)
    ema: float = setting(0.0, "decay of the average of the weights that is evaluated; 0 = none", low=0, below=1)
    ema_warmup: float = setting(
        10.0,
        "steps over which that decay begins: at step t it is at most (1 + t) / (ema_warmup + t); 1 = at once",
        low=1,
    )


@dataclasses.dataclass(kw_only=True)
class Compute:
    """Where and how precisely it runs."""

    devices: int = setting(0, "devices to use, of all processes; 0 = the most that divide the batch", low=0)
    parallel: str = setting("jit", "how the step is compiled for them", choices=("jit", "fsdp", "pmap"))
    precision: str = setting("float32", "type of activations", choices=("float32", "bfloat16", "float16"))
    matmul: str = setting("default", "precision of float32 products", choices=("default", "high", "highest"))
    convolution: str = setting(
        "auto", "on a CPU: 'auto' is the fastest known, 'native' is XLA's", choices=("auto", "native")
    )
    remat: bool = setting(False, "recompute what lies between convolutions, to save memory")


@dataclasses.dataclass(kw_only=True)
class Transfer:
    """What a run takes over from weights that were trained before, and what of it may change."""

    weights: str = setting("", "a file, hf:ORG/REPO, package:NAME, vectors:PATH, ratios or a run folder; '' = random")
    part: str = setting("", "the part of another run's variables to take, as params/backbone or teacher; '' = all")
    head: str = setting(
        "auto",
        "the last layer: auto = kept where the weights are for the same classes in the same order, else new; new = "
        "drawn for the classes of the data; probe = for these, too, fitted by logistic regression on what the weights "
        "make of the training images; keep = kept",
        choices=("auto", "new", "probe", "keep"),
    )
    frozen: str = setting(
        "", "the last feature map (describe names them) up to which nothing changes; backbone = all but the last layer"
    )
    frozen_norm: bool = setting(False, "BatchNorm normalises by the running statistics it began with, everywhere")
    layer_decay: float = setting(
        1.0, "learning rate of a stage over that of the next; the last layer has the full one", above=0, high=1
    )


@dataclasses.dataclass(kw_only=True)
class Evaluate:
    """When the model is scored, and on what."""

    every: str = setting("1 epochs", "how often the validation split is scored; 0% = at the end", duration=DURATIONS)
    batch_size: int = setting(512, "examples per evaluation step, over all devices", low=1)
    patience: int = setting(
        0,
        "early stopping after so many validations in a row without a better score; the best state is scored; 0 = none",
        low=0,
    )
    best_by: str = setting("", "score that chooses the best state, as top1, or -nll for the lowest; '' = the task's")
    test: str = setting(
        "end", "when the test split is read: at the end, once, or never, as for sweeps", choices=("end", "never")
    )
    also: Function = setting(
        nothing,
        "further evaluations, as elsewhere(source='folder:PATH')",
        called="task, spec, splits",
        kind="evaluations",
    )
    outputs: bool = setting(False, "keep what the model says of every example of the test split, as outputs/NAME.npy")


@dataclasses.dataclass(kw_only=True)
class Experiment:
    """One run."""

    name: str = required("name of the run's default folder")
    data: Data = required("what is read")
    model: Model = required("what is trained")
    optim: Optim = required("how the weights move")
    augment: Function = required(
        "augmentation on the device, as 'compose(flip, shift(pixels=4))'; identity = none",
        called="keys, batch",
        kind="augmentations",
    )
    duration: str = setting("10 epochs", "length of the training; a longer one makes a run longer", duration=LENGTHS)
    extend: str = setting(
        STRETCH,
        "the learning rate of a run that is made longer: stretch = the schedule of the longer run, from the present "
        "step on; restart = the schedule begins anew over the steps that are left",
        choices=(STRETCH, RESTART),
    )
    extended: str = setting("", "where the run was made longer, and how, as 'restart 500' steps; train writes it")
    save_every: str = setting("1 epochs", "how often a checkpoint is written; 0% = at the end", duration=DURATIONS)
    log_every: str = setting("1%", "how often the training metrics are logged; 0% = at the end", duration=DURATIONS)
    keep: int = setting(2, "latest checkpoints that are kept, beside the best by validation", low=1)
    max_skipped: int = setting(10, "updates in a row that may be skipped for being nan or inf", low=1)
    seed: int = setting(0, "of weights, data order, augmentation and dropout", low=0)
    evaluate: Evaluate = dataclasses.field(
        default_factory=Evaluate, metadata=dict(help="when the model is scored, and on what")
    )
    compute: Compute = dataclasses.field(default_factory=Compute, metadata=dict(help="where and how precisely it runs"))
    transfer: Transfer = dataclasses.field(
        default_factory=Transfer, metadata=dict(help="what it takes over from earlier training")
    )


def fields(kind: Any = Experiment, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """(dotted name, field) of every leaf of a tree of dataclasses, in order."""
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.type):
            yield from fields(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """(dotted name, field, value) of every leaf of a tree of dataclasses, in order."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not callable(value):
            yield from walk(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field, value


def check(config: Experiment) -> None:
    """Raises ValueError, in one line, for the first value that has the wrong type or makes no sense."""
    for name, field, value in walk(config):
        _check_type(name, field.type, value)
        bounds, shown = field.metadata, f"{name} = {value!r}"
        if bounds.get("called") is not None:
            _check_call(name, value, bounds["called"], bounds["kind"])
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{shown} must be a finite number")
        if bounds.get("low") is not None and value < bounds["low"]:
            raise ValueError(f"{shown} must be at least {bounds['low']}")
        if bounds.get("above") is not None and value <= bounds["above"]:
            raise ValueError(f"{shown} must be above {bounds['above']}")
        if bounds.get("high") is not None and value > bounds["high"]:
            raise ValueError(f"{shown} must be at most {bounds['high']}")
        if bounds.get("below") is not None and value >= bounds["below"]:
            raise ValueError(f"{shown} must be below {bounds['below']}")
        if bounds.get("choices") and value not in bounds["choices"]:
            raise ValueError(f"{shown}: {did_you_mean(value, bounds['choices'])}")
        if bounds.get("duration") and not DURATION.match(value):
            raise ValueError(f"{shown} must be a duration, as {bounds['duration']}")
    if not re.fullmatch(r"\w[\w.-]*", config.name):
        raise ValueError(f"name = {config.name!r} must be a folder's name: letters, digits, and _ . - between them")
    extensions(config.extended)
    if config.optim.lr <= 0:
        raise ValueError(f"optim.lr = {config.optim.lr!r} must be above 0")
    if config.evaluate.patience and not config.data.validation:
        raise ValueError(
            f"evaluate.patience = {config.evaluate.patience} waits for better scores of the validation split: "
            "keep one, as --config.data.validation=0.1"
        )
    if config.transfer.head in ("keep", "probe") and not config.transfer.weights:
        raise ValueError(f"transfer.head = '{config.transfer.head}' is for weights to begin with: say transfer.weights")
    if config.data.batch_size % config.optim.accumulate:
        raise ValueError(
            f"data.batch_size = {config.data.batch_size} cannot be cut into optim.accumulate = "
            f"{config.optim.accumulate} equal parts"
        )


def extensions(text: str) -> list[tuple[str, int]]:
    """'stretch 70, restart 500' -> [('stretch', 70), ('restart', 500)]. Raises ValueError for anything else."""
    found = [re.fullmatch(rf"({STRETCH}|{RESTART}) (\d{{1,10}})", part) for part in text.split(", ")] if text else []
    if not all(found):
        raise ValueError(f"extended = {text[:100]!r} must be as 'stretch 70, restart 500': how, and at which step")
    return [(match[1], int(match[2])) for match in found if match]


def _check_type(name: str, expected: Any, value: Any) -> None:
    if expected is Function:
        if not callable(value):
            raise ValueError(f"{name} = {value!r} must be a function")
    elif expected is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} = {value!r} must be a number")
        if abs(value) > sys.float_info.max:
            raise ValueError(f"{name} = {repr(value)[:100]} must be a finite number")
    elif not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise ValueError(f"{name} = {value!r} must be of type {expected.__name__}")
    elif expected is int and abs(value) > LARGEST:
        raise ValueError(f"{name} = {repr(value)[:100]} must be at most {LARGEST}")


def _check_call(name: str, function: Function, arguments: str, kind: str) -> None:
    """That the function has a name to record it by, and takes the arguments that it will be called with."""
    names = [word for word in arguments.split(", ") if word]
    positional = [word for word in names if not word.endswith("=")]
    keywords = {word.rstrip("="): None for word in names if word.endswith("=")}
    try:
        shown = describe(function)
        if name not in ("data.source", "evaluate.also"):
            refuse_sources(shown)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    try:
        if isinstance(function, functools.partial):  # whose own signature would say less of a wrong setting
            inspect.signature(function.func).bind_partial(**function.keywords)
        inspect.signature(function).bind(*positional, **keywords)
    except TypeError as error:
        raise ValueError(
            f"{name} = {shown} cannot be called as f({arguments}): {error} (launch.py list {kind} shows what can)"
        ) from None


def refuse_sources(text: str) -> None:
    """Raises ValueError for a description that names a source, or what opens one: only that which asks for it may."""
    for module in sorted(modules_of(text)):
        if f"{module}.".startswith(("cnn_jax.data.", "cnn_jax.evals.also.")):
            raise ValueError(f"{text[:200]} names a source of data, or what opens one, where neither is wanted")


def to_json(config: Experiment) -> dict[str, Any]:
    """The experiment as nested dictionaries of numbers and strings; functions by their names."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not callable(value):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return describe(value) if callable(value) else value

    return plain(config)


def from_json(values: dict[str, Any]) -> Experiment:
    """The inverse of `to_json`. Raises ValueError for a missing or unknown field, or a value of the wrong type."""

    def build(kind: Any, values: dict[str, Any], prefix: str) -> Any:
        hints = get_type_hints(kind)
        if not isinstance(values, dict):
            raise ValueError(f"'{prefix.rstrip('.')}' = {values!r} must hold fields")
        for name in values:
            if name not in hints:
                raise ValueError(f"unknown field '{prefix}{name}': {did_you_mean(name, hints)}")
        made = {}
        for name, value in values.items():
            if dataclasses.is_dataclass(hints[name]):
                made[name] = build(hints[name], value, f"{prefix}{name}.")
            else:
                made[name] = lookup(str(value)) if hints[name] is Function else value
        try:
            return kind(**made)
        except TypeError as error:
            raise ValueError(f"the configuration is incomplete: {error}") from None

    config = build(Experiment, values, "")
    check(config)
    return config


def changed(config: Experiment, values: Mapping[str, Any]) -> Experiment:
    """A copy with other values for some fields, by their dotted names as "optim.lr"; functions may be given by name.

    Raises ValueError, with the nearest name, for a field that there is not.
    """
    known = [name for name, _ in fields()]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown field '{name}': {did_you_mean(name, known)}")

    def copy(part: Any, prefix: str) -> Any:
        new = {}
        for field in dataclasses.fields(part):
            name, value = f"{prefix}{field.name}", getattr(part, field.name)
            if name in values:
                text = field.type is Function and isinstance(values[name], str)
                new[field.name] = lookup(values[name]) if text else values[name]
            elif dataclasses.is_dataclass(value) and not callable(value):
                new[field.name] = copy(value, f"{name}.")
        return dataclasses.replace(part, **new)

    return copy(config, "")


def completed(values: dict[str, Any], kind: Any = Experiment) -> dict[str, Any]:
    """A configuration as JSON, perhaps of an earlier version, with the defaults of the fields that it lacks."""
    if not isinstance(values, dict):
        raise ValueError(f"{repr(values)[:100]} stands where fields are wanted")
    full = dict(values)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.type):
            full[field.name] = completed(values.get(field.name, {}), field.type)
        elif field.name not in values and field.default is not dataclasses.MISSING:
            full[field.name] = describe(field.default) if callable(field.default) else field.default
    return full


def differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    """One line per field in which two configurations, as JSON, differ."""
    lines = []
    for name in sorted(a.keys() | b.keys()):
        left, right = a.get(name), b.get(name)
        if isinstance(left, dict) and isinstance(right, dict):
            lines += differences(left, right, f"{prefix}{name}.")
        elif left != right:
            lines.append(f"{prefix}{name}: {left} -> {right}")
    return lines
