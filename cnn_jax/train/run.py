"""From the description of an experiment to the parts that the loop turns."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax

from cnn_jax.config import Experiment
from cnn_jax.data.spec import Spec
from cnn_jax.lookup import describe
from cnn_jax.parts import EXPERIMENT
from cnn_jax.tasks.task import Task
from cnn_jax.train import extension, mesh, transfer
from cnn_jax.train import state as state_of
from cnn_jax.train.mesh import Engine
from cnn_jax.train.predictor import Compiled, Predictor, compiler, make_model
from cnn_jax.train.state import State
from cnn_jax.train.step import Settings, train_step
from cnn_jax.train.steps import Steps, steps_of

INIT, TRAIN = 0, 1  # streams of the seed's key
OPTIMIZER, AUGMENT = "optimizer", "augment"  # scopes of the step's operations


class Run(NamedTuple):
    """The parts of one training, made from its configuration and the description of its data, not the data itself.

    create: variables by path to begin with, {} for none -> the state before the first step, on one device.
    """

    config: Experiment
    spec: Spec
    examples: int
    model: nn.Module
    task: Task
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule
    engine: Engine
    compiled: Compiled
    create: Callable[[Mapping[str, Any]], State]
    steps: Steps


def assemble(config: Experiment, spec: Spec, examples: int) -> Run:
    """Builds task and optimizer, and the step for the devices; compilation waits for the first call.

    Args:
      config: a checked configuration.
      spec: of the data.
      examples: size of the training split.

    Raises:
      ValueError: the parts do not fit together.
    """
    compute, optim, batch_size = config.compute, config.optim, config.data.batch_size
    jax.config.update("jax_default_matmul_precision", None if compute.matmul == "default" else compute.matmul)
    devices = mesh.choose_devices(compute.devices, batch_size, optim.accumulate)
    # The schedule is in steps of this training: how long it is must be known before the optimizer is built.
    steps = steps_of(config, examples)
    schedule = extension.schedule(config, examples, steps.total)
    model = make_model(config.model, config.compute.precision, spec)
    task = config.model.task(model, spec)
    if task.whole_batch and optim.accumulate > 1:
        raise ValueError(
            f"optim.accumulate = {optim.accumulate} cuts the batch into parts, but this task's loss compares all its "
            "examples with one another: set it to 1"
        )
    task, optimizer = transfer.apply(
        config.transfer, model, spec.input.shape, task, optim.build(schedule, optim.weight_decay)
    )
    step = functools.partial(
        train_step,
        task=task,
        # By these names a profile tells their operations.
        optimizer=optimizer._replace(update=jax.named_call(optimizer.update, name=OPTIMIZER)),
        augment=jax.named_call(config.augment, name=AUGMENT),
        settings=Settings(optim.accumulate, optim.clip, optim.ema, optim.ema_warmup, compute.remat),
    )
    # One trace for its shapes and the start; the key is an argument, so that every seed runs the same program.
    created = jax.jit(functools.partial(_create, config, task, optimizer))
    create = functools.partial(created, jax.random.fold_in(jax.random.key(config.seed), INIT))
    try:
        shapes = jax.eval_shape(create, {})
    except (TypeError, ArithmeticError, LookupError, AttributeError) as error:
        text = describe(config.model.build)
        if EXPERIMENT in text:  # a bug in the user's own code is shown as one
            raise
        raise ValueError(f"model.build = {text} makes no model: {type(error).__name__}: {error}") from error
    engine = mesh.build(
        step,
        shapes,
        jax.random.fold_in(jax.random.key(config.seed), TRAIN),
        spec.fields,
        parallel=compute.parallel,
        devices=devices,
        convolution=compute.convolution,
    )
    compiled = compiler(spec, devices, compute.convolution)
    return Run(config, spec, examples, model, task, optimizer, schedule, engine, compiled, create, steps)


def fresh(run: Run, loaded: Mapping[str, Any] | None = None) -> State:
    """The state before the first step, on the engine's devices; variables are `loaded`, by path, or drawn."""
    return run.engine.place(run.create(loaded or {}))


def alone(run: Run) -> Run:
    """The run as this process computes something with the devices of its own, as all others do, too."""
    if jax.process_count() == 1:
        return run
    own = jax.local_devices()
    compiled = compiler(run.spec, own, run.config.compute.convolution)
    return run._replace(compiled=compiled, engine=run.engine._replace(devices=len(own)))


def predictor_of(run: Run, state: State) -> Predictor:
    """The model as it is evaluated in the state `state`."""
    return Predictor(run.spec, run.model, run.task, run.engine.variables(state), run.compiled, run.engine.devices)


def _create(
    config: Experiment,
    task: Task,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    loaded: Mapping[str, Any],
) -> State:
    variables = task.init(key)
    if loaded:
        variables = transfer.overlaid(variables, loaded)
    scaled = config.compute.precision == "float16"
    return state_of.create(variables, optimizer, ema=config.optim.ema > 0, loss_scale=scaled)
