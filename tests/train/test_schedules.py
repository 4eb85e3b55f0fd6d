"""Schedules against values computed by hand, and what holds for all of them."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.train import schedules

SCHEDULES = [schedules.constant, schedules.cosine, schedules.step, schedules.one_cycle, schedules.wsd]
PEAK, STEPS, WARMUP = 0.4, 100, 10


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.constant, {0: 0.04, 4: 0.2, 9: 0.4, 10: 0.4, 55: 0.4, 99: 0.4}),
        # 0.4 * (1 + cos(pi * (k - 10) / 90)) / 2
        (schedules.cosine, {0: 0.04, 4: 0.2, 9: 0.4, 10: 0.4, 55: 0.2, 40: 0.3, 70: 0.1, 99: 0.00012183}),
        (partial(schedules.cosine, final=0.1), {0: 0.04, 10: 0.4, 55: 0.22, 99: 0.04010965}),
        (schedules.step, {0: 0.04, 9: 0.4, 49: 0.4, 50: 0.04, 74: 0.04, 75: 0.004, 99: 0.004}),
        (partial(schedules.step, at=(0.6,), factor=0.5), {59: 0.4, 60: 0.2, 99: 0.2}),
        # up by (0.4 - 0.016) / 10 a step, down by 0.4 / 90 a step
        (schedules.one_cycle, {0: 0.016, 5: 0.208, 10: 0.4, 55: 0.2, 99: 0.4 / 90}),
        (partial(schedules.one_cycle, start=0.5, final=0.1), {0: 0.2, 5: 0.3, 10: 0.4, 55: 0.22, 99: 0.044}),
        (schedules.wsd, {0: 0.04, 9: 0.4, 45: 0.4, 80: 0.4, 90: 0.2, 99: 0.02}),
        (partial(schedules.wsd, decay=0.5, final=0.2), {50: 0.4, 75: 0.24, 99: 0.0864}),
    ],
)
def test_values_at_start_end_of_warm_up_middle_and_last_step(
    schedule: Callable[..., schedules.Schedule], expected: dict[int, float]
) -> None:
    values = schedule(PEAK, STEPS, WARMUP)
    for step, value in expected.items():
        np.testing.assert_allclose(values(step), value, rtol=2e-5, err_msg=f"at step {step}")


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 37, 90, 99])
def test_no_rate_is_negative_or_above_the_peak_and_the_peak_is_reached(
    schedule: Callable[..., schedules.Schedule], warmup: int
) -> None:
    if schedule is schedules.wsd and warmup > 80:
        pytest.skip("wsd has no room for its fall")
    values = np.broadcast_to(schedule(PEAK, STEPS, warmup)(np.arange(STEPS)), STEPS)
    assert values[0] > 0 and values.min() >= 0
    np.testing.assert_allclose(values.max(), PEAK, rtol=1e-6)
    assert np.all(np.diff(values[:warmup]) > 0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_of_one_step_learns_at_the_peak(schedule: Callable[..., schedules.Schedule]) -> None:
    np.testing.assert_allclose(schedule(PEAK, 1, 0)(0), PEAK, rtol=1e-6)


def test_drops_that_fall_into_the_warm_up_are_made_up_for_after_it() -> None:
    np.testing.assert_allclose(schedules.step(PEAK, STEPS, 80)(80), PEAK * 0.1 * 0.1, rtol=1e-6)


def test_parts_that_do_not_fit_into_the_training_are_refused() -> None:
    with pytest.raises(ValueError, match=r"wsd\(decay=0.2\) falls over 20 steps, after a warm-up of 90: .* has 100"):
        schedules.wsd(PEAK, STEPS, 90)
    with pytest.raises(ValueError, match=r"step\(at=\(0.5, 1.5\)\): shares of the training"):
        schedules.step(PEAK, STEPS, 0, at=(0.5, 1.5))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 10])
def test_rates_are_float32_under_x64_too(schedule: Callable[..., schedules.Schedule], warmup: int) -> None:
    here = schedule(PEAK, STEPS, warmup)(jnp.int32(60))
    with jax.enable_x64(True):
        there = schedule(PEAK, STEPS, warmup)(jnp.int32(60))
    assert jnp.asarray(here).dtype == jnp.asarray(there).dtype == jnp.float32
    np.testing.assert_allclose(here, there, rtol=1e-6)
