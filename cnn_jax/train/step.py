"""The one training step: a pure function of (state, batch, key), compiled by `mesh` for any number of devices."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cnn_jax.batch import Batch
from cnn_jax.ops.batch_axis import devices, divisor, first_example, mean_over_devices, sum_over_devices
from cnn_jax.tasks.task import Sums, Task
from cnn_jax.train.state import LossScale, State, Tree, averaged

Metrics = dict[str, Any]  # {name: (sum, count)}, and "skipped" and "grad_norm"
AUGMENT, DROPOUT = 0, 1  # the streams of random numbers of a step
LARGE = 1e18  # of gradients and parameters: that squares of them, and sums of such squares, stay finite in float32


class Settings(NamedTuple):
    """What the step does beside loss and update; the fields are those of `config.Optim` and `config.Compute`."""

    accumulate: int = 1
    clip: float = 0.0
    ema: float = 0.0
    ema_warmup: float = 10.0
    remat: bool = False


def train_step(
    state: State,
    batch: Batch,
    key: jax.Array,
    *,
    task: Task,
    optimizer: optax.GradientTransformation,
    augment: Callable[[jax.Array, Batch], Batch],
    settings: Settings,
) -> tuple[State, Metrics]:
    """One update of the state.

    Args:
      state: before the step.
      batch: arrays [B, ...]; under pmap or shard_map this device's part of them.
      key: the seed's key; the state's step is folded in here.
      task: the loss.
      optimizer: from gradients to updates.
      augment: a function of (keys [B], batch).
      settings: accumulation, clipping, averaging, rematerialisation.

    Returns:
      The state after the step, and its metrics: the task's {name: (sum, count)} over the whole batch, and beside them
      'skipped' (updates skipped in a row, counting this one) and 'grad_norm'. An update with a nan or inf in the loss,
      a gradient or anything that would follow from them is skipped as a whole: params, optimizer, model state and
      average stay as they were. The learning rate is that of the step's number, whatever was skipped before.
    """
    key = jax.random.fold_in(key, state.step)
    batch = batch.scaled()
    positions = first_example(batch.size) + jnp.arange(batch.size)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, AUGMENT), positions)
    batch = augment(keys, batch)

    scale = state.loss_scale.scale if state.loss_scale else jnp.float32(1)
    grads, model_state, sums = _gradients(state, batch, jax.random.fold_in(key, DROPOUT), scale, task, settings)
    # The norm is of the sums as they arrive, and means are taken where they are used: fewer kernels to compile.
    summed, sums = sum_over_devices(grads), sum_over_devices(sums)
    norm = optax.tree.norm(summed) / devices()
    grads = jax.tree.map(lambda g: g / devices(), summed)
    if settings.clip:
        factor = jnp.minimum(1, settings.clip / jnp.maximum(norm, 1e-12))
        grads = jax.tree.map(lambda g: g * factor, grads)

    updates, opt_state = optimizer.update(grads, _at_step(state.opt_state, state.step), state.params)
    params = optax.apply_updates(state.params, updates)
    new = replace(state, params=params, model_state=model_state, opt_state=opt_state)
    if state.ema is not None:
        new = replace(new, ema=_average(state.ema, averaged(params, model_state), state.step, settings))
    # The state too: inputs of 1e18 leave loss and gradient finite, and the running variance infinite for ever.
    finite = (norm < LARGE) & jnp.isfinite(sums["loss"][0]) & _stays_finite(params, model_state)
    kept = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
    skipped = jnp.where(finite, 0, state.skipped + 1)
    kept = replace(kept, step=state.step + 1, skipped=skipped, loss_scale=_rescale(state.loss_scale, finite))
    return kept, {**sums, "grad_norm": norm, "skipped": skipped}


def _at_step(opt_state: Tree, step: jax.Array) -> Tree:
    """The optimizer's state with its schedules at `step`: Optax counts updates, which lag where some are skipped."""

    def at(node: Any) -> Any:
        return node._replace(count=step) if isinstance(node, optax.ScaleByScheduleState) else node

    return jax.tree.map(at, opt_state, is_leaf=lambda node: isinstance(node, optax.ScaleByScheduleState))


def _stays_finite(params: Tree, model_state: Tree) -> jax.Array:
    """Whether the new state is finite, where the gradient's norm is below LARGE.

    Parameters and what the model keeps are looked at; optimizer state and averages are sums, squares and differences of
    these and of gradients, which cannot leave the range of float32. Looking at each array of them would take 14 % of a
    step of a network with 13 million parameters on a CPU; this takes too little to be measured.
    """
    kept = [leaf for leaf in jax.tree.leaves(model_state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return (optax.tree.norm(params) < LARGE) & (sum(jnp.abs(leaf).sum() for leaf in kept) < LARGE**2)


def _gradients(
    state: State, batch: Batch, key: jax.Array, scale: jax.Array, task: Task, settings: Settings
) -> tuple[Tree, Tree, Sums]:
    """(mean gradients, new model state, summed metrics), over `settings.accumulate` parts of the batch in turn."""

    def loss_fn(params: Tree, model_state: Tree, part: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        loss, new_state, sums = task.loss({"params": params, **model_state}, part, key, True)
        return loss * scale, (new_state, sums)

    if settings.remat:
        loss_fn = jax.checkpoint(loss_fn, policy=_keep_products)

    differentiated = jax.grad(loss_fn, has_aux=True)
    parts = settings.accumulate
    if parts == 1:
        grads, (model_state, sums) = differentiated(state.params, state.model_state, batch, key)
        return jax.tree.map(lambda g: g / scale, grads) if state.loss_scale else grads, model_state, sums

    def one_part(carry: tuple[Tree, Tree], part: tuple[Batch, jax.Array]) -> tuple[tuple[Tree, Tree], Sums]:
        model_state, total = carry
        grads, (model_state, sums) = differentiated(state.params, model_state, *part)
        # Weighted, as the parts may hold different numbers of real examples.
        count = mean_over_devices(sums["loss"][1])
        return (model_state, jax.tree.map(lambda t, g: t + g * count, total, grads)), sums

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    # Every parts-th example, not neighbours: so a batch that is split over devices stays where it is.
    cut = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch)
    (model_state, grads), sums = jax.lax.scan(one_part, (state.model_state, zeros), (cut, jax.random.split(key, parts)))
    sums = jax.tree.map(lambda x: x.sum(0), sums)
    count = divisor(sums["loss"][1])
    return jax.tree.map(lambda g: g / (scale * count), grads), model_state, sums


def _keep_products(primitive: Any, *_: Any, **__: Any) -> bool:
    """Rematerialisation policy: convolutions and products are kept, norms and activations computed again."""
    return primitive.name.startswith(("conv", "dot_general"))


def _average(ema: Tree, variables: Tree, step: jax.Array, settings: Settings) -> Tree:
    """Exponential moving average whose decay warms up as (1 + t) / (w + t), so that early weights do not linger.

    In the form that leaves a variable that never changes exactly as it is.
    """
    now = jnp.minimum(settings.ema, (1 + step.astype(jnp.float32)) / (settings.ema_warmup + step.astype(jnp.float32)))
    return jax.tree.map(lambda e, v: e + (1 - now) * (v - e), ema, variables)


def _rescale(loss_scale: LossScale | None, finite: jax.Array) -> LossScale | None:
    if loss_scale is None:
        return None
    scale, good = loss_scale.scale, loss_scale.good_steps + 1
    grow = finite & (good >= 2000)
    new_scale = jnp.where(finite, jnp.where(grow, scale * 2, scale), jnp.maximum(scale / 2, 1))
    return LossScale(new_scale, jnp.where(finite & ~grow, good, 0))
