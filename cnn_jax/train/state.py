"""Everything that changes during training, as one tree of arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

Tree = Any
AVERAGED = ("batch_stats",)  # collections that are averaged beside the weights
FIRST_SCALE = 2.0**15  # float16 overflows at 65,504: the first few steps find the right scale downwards


@struct.dataclass
class LossScale:
    """Dynamic loss scale (Micikevicius et al. 2018, section 3.2): doubles after 2000 good steps, halves on overflow."""

    scale: jax.Array  # [] float32
    good_steps: jax.Array  # [] int32


@struct.dataclass
class State:
    """The state of a run after `step` steps. No random key: every use folds `step` into the seed's key."""

    step: jax.Array  # [] int32
    params: Tree
    model_state: Tree  # batch_stats and any other collection of the model
    opt_state: Tree
    ema: Tree | None  # running average of what `averaged` picks
    loss_scale: LossScale | None
    skipped: jax.Array  # [] int32: updates skipped in a row, up to now


def create(variables: Tree, optimizer: optax.GradientTransformation, *, ema: bool, loss_scale: bool) -> State:
    """The state before the first step, from a model's freshly made variables."""
    model_state = {name: value for name, value in variables.items() if name != "params"}
    return State(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        model_state=model_state,
        opt_state=optimizer.init(variables["params"]),
        # A copy: donating the state must not hand the same buffer over twice.
        ema=jax.tree.map(jnp.copy, averaged(variables["params"], model_state)) if ema else None,
        loss_scale=LossScale(jnp.float32(FIRST_SCALE), jnp.int32(0)) if loss_scale else None,
        skipped=jnp.zeros((), jnp.int32),
    )


def averaged(params: Tree, model_state: Tree) -> Tree:
    """What is averaged over the steps: weights and BatchNorm's statistics. Counters, queues and teachers are not."""
    return {"params": params, **{name: model_state[name] for name in AVERAGED if name in model_state}}


def evaluated(state: State) -> Tree:
    """The variables to evaluate: the running average where there is one."""
    return {"params": state.params, **state.model_state, **(state.ema or {})}
