"""Learning-rate schedules: functions of (peak, steps, warmup) that return an Optax schedule.

Each rises linearly from 0 over `warmup` steps, unless it says otherwise, and spends what is left of `steps` on its own
curve. Step k (from 0) is trained with schedule(k), a float32. Raises ValueError where the parts of a schedule do not
fit into `steps`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

Schedule = Callable[[jax.typing.ArrayLike], jax.typing.ArrayLike]


def _after_warmup(curve: Schedule, peak: float, warmup: int) -> Schedule:
    # (k + 1) / warmup: the first step already learns something, step warmup - 1 has the full rate.
    rise = optax.linear_schedule(peak / max(warmup, 1), peak, max(warmup - 1, 1))
    return _in_float32(optax.join_schedules([rise, curve], [warmup]) if warmup else curve)


def _in_float32(schedule: Schedule) -> Schedule:
    """Also under JAX_ENABLE_X64, where Optax divides whole numbers to float64."""
    return lambda count: jnp.asarray(schedule(count), jnp.float32)


def constant(peak: float, steps: int, warmup: int) -> Schedule:
    """The peak rate throughout."""
    return _after_warmup(optax.constant_schedule(peak), peak, warmup)


def cosine(peak: float, steps: int, warmup: int, *, final: float = 0.0) -> Schedule:
    """Half a cosine from the peak to `final` x peak (Loshchilov & Hutter 2017, equation 5, without restarts)."""
    return _after_warmup(optax.cosine_decay_schedule(peak, max(steps - warmup, 1), final), peak, warmup)


def step(peak: float, steps: int, warmup: int, *, at: tuple[float, ...] = (0.5, 0.75), factor: float = 0.1) -> Schedule:
    """The rate times `factor` at each of the shares `at` of all steps (He et al. 2016, section 4.2: 0.5 and 0.75)."""
    if not all(0 <= share <= 1 for share in at):
        raise ValueError(f"step(at={at}): shares of the training must lie in [0, 1]")
    drops = np.array([max(round(share * steps), 1) for share in at])

    def curve(count: jax.typing.ArrayLike) -> jax.Array:
        passed = jnp.asarray(count)[..., None] + warmup >= drops
        return peak * jnp.power(factor, passed.sum(-1))

    return _after_warmup(curve, peak, warmup)


def one_cycle(peak: float, steps: int, warmup: int, *, start: float = 0.04, final: float = 0.0) -> Schedule:
    """A straight rise from `start` x peak over `warmup` steps, a straight fall to `final` x peak (Smith 2018)."""
    rise = optax.linear_schedule(start * peak, peak, max(warmup, 1))
    fall = optax.linear_schedule(peak, final * peak, max(steps - warmup, 1))
    return _in_float32(optax.join_schedules([rise, fall], [warmup]))


def wsd(peak: float, steps: int, warmup: int, *, decay: float = 0.2, final: float = 0.0) -> Schedule:
    """Warm-up, stable, then a straight fall over the last share `decay` of all steps (Hu et al. 2024, section 4)."""
    fall = max(round(decay * steps), 1)
    if fall + warmup > steps + 1:  # each part is at least a step long, which is too much for a training of one
        raise ValueError(
            f"wsd(decay={decay}) falls over {fall} steps, after a warm-up of {warmup}: the training has {steps}, make "
            "one of them shorter"
        )
    curve = optax.join_schedules(
        [optax.constant_schedule(peak), optax.linear_schedule(peak, final * peak, fall)], [steps - fall - warmup]
    )
    return _after_warmup(curve, peak, warmup)
