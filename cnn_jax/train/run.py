"""From the description of an experiment to the parts that the loop turns."""

import functools
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cnn_jax.config import Experiment
from cnn_jax.data.source import Source, Spec, Split, fraction, open_source
from cnn_jax.lookup import describe
from cnn_jax.models.small_images import stem_warning, takes_fitting_stem
from cnn_jax.tasks.task import Task
from cnn_jax.train import mesh, transfer
from cnn_jax.train import state as state_of
from cnn_jax.train.durations import in_steps
from cnn_jax.train.mesh import Engine
from cnn_jax.train.state import State
from cnn_jax.train.step import Settings, train_step

INIT, TRAIN = 0, 1  # streams of the seed's key


class Steps(NamedTuple):
    """When things are due, in steps. The last step always evaluates, saves and logs; 0 means only then."""

    total: int
    evaluate: int
    save: int
    log: int
    per_epoch: float

    def evaluates_after(self, step: int) -> bool:
        return self._due(step, self.evaluate)

    def saves_after(self, step: int) -> bool:
        return self._due(step, self.save)

    def logs_after(self, step: int) -> bool:
        return self._due(step, self.log)

    def _due(self, step: int, every: int) -> bool:
        return step == self.total or (every > 0 and step % every == 0)


class Run(NamedTuple):
    """The parts of one run, made from its configuration and the description of its data, not the data itself."""

    config: Experiment
    spec: Spec
    examples: int
    task: Task
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    engine: Engine
    steps: Steps


def open_split(config: Experiment, split: Split, also: tuple[Split, ...] = ()) -> Source:
    """A split of the data that `config` describes; the splits `also` must be there too."""
    data = config.data
    source = open_source(
        data.source,
        split,
        validation=data.validation,
        image_size=data.image_size or None,
        channels=data.channels or None,
        corrupt=data.corrupt,
        interpolation=data.interpolation,
        also=also,
    )
    return fraction(source, data.labels) if split == "train" and data.labels < 1 else source


def make_task(config: Experiment, spec: Spec) -> Task:
    """The task with its model, for data of `spec`."""
    return config.model.task(make_model(config, spec), spec)


def make_model(config: Experiment, spec: Spec) -> nn.Module:
    """The model, for the classes of `spec`."""
    return config.model.build(classes=len(spec.classes), dtype=jnp.dtype(config.compute.precision))


def assemble(config: Experiment, spec: Spec, examples: int) -> Run:
    """Builds task and optimizer, and the step for the devices; compilation waits for the first call.

    Args:
      config: a checked configuration.
      spec: of the data.
      examples: size of the training split.

    Raises:
      ValueError: the parts do not fit together.
    """
    compute, optim = config.compute, config.optim
    jax.config.update("jax_default_matmul_precision", None if compute.matmul == "default" else compute.matmul)
    devices = mesh.choose_devices(compute.devices, config.data.batch_size, optim.accumulate)
    steps = _steps(config, examples)
    warmup = in_steps(optim.warmup, examples=examples, batch_size=config.data.batch_size, total=steps.total)
    schedule = optim.schedule(optim.lr, steps.total, warmup)
    optimizer = optim.build(schedule, optim.weight_decay)
    task, optimizer = transfer.apply(
        config.transfer, make_model(config, spec), spec.shape, make_task(config, spec), optimizer
    )
    step = functools.partial(
        train_step,
        task=task,
        optimizer=optimizer,
        augment=config.augment,
        settings=Settings(optim.accumulate, optim.clip, optim.ema, compute.remat),
    )
    key = jax.random.fold_in(jax.random.key(config.seed), TRAIN)
    shapes = jax.eval_shape(functools.partial(_create, config, task, optimizer, {}))
    engine = mesh.build(
        step,
        task.predict,
        shapes,
        key,
        parallel=compute.parallel,
        devices=devices,
        convolution=compute.convolution,
    )
    return Run(config, spec, examples, task, optimizer, schedule, engine, steps)


def fresh(run: Run, loaded: Mapping[str, Any] | None = None) -> State:
    """The state before the first step, on the engine's devices; variables are `loaded`, by path, or drawn."""
    return run.engine.place(jax.jit(functools.partial(_create, run.config, run.task, run.optimizer))(loaded or {}))


def check_augment(config: Experiment, spec: Spec) -> None:
    """Raises ValueError now, not at the first step, for a function that is no augmentation of such examples."""
    size, dtype = config.data.batch_size, "float32" if spec.dtype == "uint8" else spec.dtype
    shape = functools.partial(jax.ShapeDtypeStruct, dtype="int32")
    batch = {"image": jax.ShapeDtypeStruct((size, *spec.shape), dtype), "label": shape((size,)), "mask": shape((size,))}
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), size))
    try:
        changed = jax.eval_shape(config.augment, keys, batch)
    except TypeError as error:
        raise ValueError(f"augment = {describe(config.augment)} is no augmentation: {error}") from None
    if not isinstance(changed, dict) or changed["image"].shape != batch["image"].shape:
        raise ValueError(f"augment = {describe(config.augment)} does not return a batch of the same shape")


def check_stem(run: Run) -> None:
    """Warns of a classifier whose stem was made for larger images than those of the data."""
    if run.task.kind != "classify":
        return
    model, image = make_model(run.config, run.spec), jax.ShapeDtypeStruct((1, *run.spec.shape), "float32")
    (_, features), _ = jax.eval_shape(functools.partial(model.init_with_output, train=False), jax.random.key(0), image)
    maps = {name: value.shape[1:-1] for name, value in features.items()}
    if text := stem_warning(maps, run.spec.shape[:-1], replaceable=takes_fitting_stem(model)):
        warnings.warn(text, stacklevel=2)


def _create(
    config: Experiment, task: Task, optimizer: optax.GradientTransformation, loaded: Mapping[str, Any]
) -> State:
    variables = task.init(jax.random.fold_in(jax.random.key(config.seed), INIT))
    if loaded:
        variables = transfer.overlaid(variables, loaded)
    scaled = config.compute.precision == "float16"
    return state_of.create(variables, optimizer, ema=config.optim.ema > 0, loss_scale=scaled)


def _steps(config: Experiment, examples: int) -> Steps:
    data = dict(examples=examples, batch_size=config.data.batch_size)
    total = in_steps(config.duration, **data)
    if total == 0:
        raise ValueError(f"duration = '{config.duration}' is no training: ask for at least 1 step")

    def every(text: str) -> int:
        return in_steps(text, **data, total=total)

    per_epoch = examples / config.data.batch_size
    return Steps(total, every(config.evaluate_every), every(config.save_every), every(config.log_every), per_epoch)
