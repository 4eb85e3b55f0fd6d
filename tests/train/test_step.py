"""The training step on a network small enough to write down: one hidden layer, squared error, a counter as state."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.augment.compose import identity
from cnn_jax.batch import Batch
from cnn_jax.config import Experiment, Optim
from cnn_jax.data.batches import training_batch
from cnn_jax.data.source import ArraySource
from cnn_jax.data.spec import Field
from cnn_jax.evals.evaluator import Evaluator, Scores
from cnn_jax.tasks.task import Sums, Task, Variables
from cnn_jax.train import optim, schedules
from cnn_jax.train.run import assemble, fresh
from cnn_jax.train.state import State, Tree, create, evaluated
from cnn_jax.train.step import Metrics, Settings, train_step

KEY = jax.random.key(7)
FIELDS = {"image": Field("value", (3,), "float32"), "label": Field("label", (), "int32")}


def init(key: jax.Array) -> Variables:
    hidden, out = jax.random.split(key)
    params = {"hidden": jax.random.normal(hidden, (3, 5)), "out": jax.random.normal(out, (5,))}
    return {"params": params, "batch_stats": {"seen": jnp.float32(0)}}


def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Tree, Sums]:
    params, valid = variables["params"], batch["valid"]
    predicted = jnp.tanh(batch["image"] @ params["hidden"]) @ params["out"]
    losses = (predicted - batch["label"]) ** 2
    total, count = (losses * valid).sum(), valid.sum()
    mean = total / jnp.maximum(count, 1)
    if "edge" in batch:  # the square root's value at 0 is finite, its slope is not
        mean += jnp.sqrt(batch["edge"].sum() * params["out"].sum() ** 2)
    state = {name: value for name, value in variables.items() if name != "params"}
    seen = variables["batch_stats"]["seen"] + mean
    if "huge" in batch:  # as a variance is infinite where the loss, of what was normalised by it, is not
        seen += jnp.square(batch["huge"]).sum()
    return mean, state | {"batch_stats": {"seen": seen}}, {"loss": (total, count)}


NOTHING = Evaluator(lambda: None, lambda totals, outputs, batch: None, lambda a, b: None, lambda totals: Scores({}, {}))
TASK = Task(init, loss, lambda variables, batch: {}, NOTHING, headline="top1", report="classify")
SGD = optax.sgd(0.1, momentum=0.9)


def batch_of(size: int, seed: int = 0) -> Batch:
    draw = np.random.default_rng(seed)
    arrays = {
        "image": jnp.asarray(draw.normal(size=(size, 3)), jnp.float32),
        "label": jnp.asarray(draw.integers(4, size=size), jnp.int32),
        "valid": jnp.ones(size, jnp.float32),
    }
    return Batch(arrays, FIELDS)


def start(optimizer: optax.GradientTransformation = SGD, *, ema: bool = False, loss_scale: bool = False) -> State:
    return create(init(jax.random.key(0)), optimizer, ema=ema, loss_scale=loss_scale)


def step_with(
    task: Task = TASK,
    optimizer: optax.GradientTransformation = SGD,
    augment: Callable[[jax.Array, Batch], Batch] = identity,
    **settings: float,
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    function = partial(train_step, task=task, optimizer=optimizer, augment=augment, settings=Settings(**settings))
    return jax.jit(lambda state, batch: function(state, batch, KEY))


def assert_close(a: Tree, b: Tree, rtol: float = 1e-5) -> None:
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=1e-6), a, b)


def assert_same(a: Tree, b: Tree) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_step_is_gradient_descent_on_the_mean_loss() -> None:
    state, batch = start(), batch_of(8)
    after, metrics = step_with()(state, batch)
    gradient = jax.grad(lambda p: loss({"params": p, **state.model_state}, batch, KEY, True)[0])(state.params)
    assert_close(after.params, jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient))
    squares = sum(float((np.asarray(g, np.float64) ** 2).sum()) for g in jax.tree.leaves(gradient))
    np.testing.assert_allclose(metrics["grad_norm"], np.sqrt(squares), rtol=1e-5)
    assert metrics["loss"][1] == 8 and metrics["skipped"] == 0 and after.step == 1


def test_padded_examples_do_not_count() -> None:
    batch = batch_of(16)
    valid = jnp.asarray([1, 0] * 5 + [1] * 6, jnp.float32)
    rubbish = batch | {"valid": valid, "image": jnp.where(valid[:, None] > 0, batch["image"], 1e3)}
    real = batch | {name: array[valid > 0] for name, array in batch.items()}
    (masked, metrics), (expected, expected_metrics) = step_with()(start(), rubbish), step_with()(start(), real)
    assert_close(masked, expected)
    assert_close(metrics, expected_metrics)
    assert metrics["loss"][1] == 11


@pytest.mark.parametrize("valid", [[1] * 16, [1, 0, 0, 1, 1, 1, 0, 1] * 2])
def test_four_parts_of_a_batch_equal_the_whole(valid: list[int]) -> None:
    batch = batch_of(16) | {"valid": jnp.asarray(valid, jnp.float32)}
    whole, metrics = step_with()(start(), batch)
    cut, cut_metrics = step_with(accumulate=4)(start(), batch)
    assert_close(cut.params, whole.params)
    assert_close(cut.opt_state, whole.opt_state)
    assert_close(cut_metrics, metrics)


def test_each_part_of_a_batch_sees_the_model_state_of_the_part_before() -> None:
    batch = batch_of(16)
    after, metrics = step_with(accumulate=4)(start(), batch)
    # `seen` adds up the mean losses of the parts.
    np.testing.assert_allclose(after.model_state["batch_stats"]["seen"], metrics["loss"][0] / 4, rtol=1e-5)


def test_rematerialisation_changes_no_gradient() -> None:
    state, batch = start(), batch_of(8)
    plain, remat = step_with(), step_with(remat=True)
    assert_close(remat(state, batch), plain(state, batch), rtol=1e-6)
    assert "remat" in str(jax.make_jaxpr(remat)(state, batch))
    assert "remat" not in str(jax.make_jaxpr(plain)(state, batch))


@pytest.mark.parametrize("share", [0.1, 0.99, 1.01, 100])
def test_clipping_bounds_the_global_norm_and_keeps_the_direction(share: float) -> None:
    descent, batch = optax.sgd(1.0), batch_of(8)
    state = start(descent)
    free, metrics = step_with(optimizer=descent)(state, batch)
    norm = float(metrics["grad_norm"])
    clipped, clipped_metrics = step_with(optimizer=descent, clip=share * norm)(state, batch)
    move = jax.tree.map(jnp.subtract, state.params, clipped.params)
    np.testing.assert_allclose(optax.tree.norm(move), min(share, 1) * norm, rtol=1e-4)
    assert_close(move, jax.tree.map(lambda a, b: min(share, 1) * (a - b), state.params, free.params), rtol=1e-4)
    np.testing.assert_allclose(clipped_metrics["grad_norm"], norm, rtol=1e-6)  # before clipping


@pytest.mark.parametrize("warmup", [1, 10, 40])
def test_average_follows_its_formula_for_params_and_statistics(warmup: int) -> None:
    state, step = start(ema=True), step_with(ema=0.3, ema_warmup=warmup)
    expected = jax.tree.map(np.asarray, state.ema)
    for number in range(6):
        state, _ = step(state, batch_of(8, number))
        decay = min(0.3, (1 + number) / (warmup + number))  # for 10: 0.1, 0.18, 0.25, then 0.3
        now = {"params": state.params, **state.model_state}
        expected = jax.tree.map(lambda e, v, d=decay: d * e + (1 - d) * np.asarray(v), expected, now)
        assert_close(state.ema, expected)


def test_a_queue_and_a_teacher_are_not_averaged_and_are_evaluated_as_they_are() -> None:
    """Rows of a queue average to nothing, and a teacher is an average already."""
    variables = {**init(jax.random.key(0)), "teacher": {"out": jnp.ones(5)}, "queue": {"next": jnp.int32(0)}}

    def moving(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Tree, Sums]:
        mean, state, sums = loss(variables, batch, key, train)
        return mean, {**state, "queue": {"next": state["queue"]["next"] + 8}}, sums

    state, step = create(variables, SGD, ema=True, loss_scale=False), step_with(TASK._replace(loss=moving), ema=0.9)
    assert state.ema.keys() == {"params", "batch_stats"}
    for _ in range(2):
        state, _ = step(state, batch_of(8))
    found = evaluated(state)
    assert found.keys() == {"params", "batch_stats", "teacher", "queue"} and found["queue"]["next"] == 16
    assert_same({name: found[name] for name in ("params", "batch_stats")}, state.ema)
    assert_same(found["teacher"], variables["teacher"])
    assert not np.array_equal(found["params"]["out"], state.params["out"])


@pytest.mark.parametrize("poison", ["value", "slope", "statistics"])
def test_an_update_that_is_not_finite_is_skipped_as_a_whole(poison: str) -> None:
    step, good = step_with(ema=0.9, clip=1.0), batch_of(8)
    if poison == "slope":
        good, bad = good | {"edge": jnp.ones(8)}, good | {"edge": jnp.zeros(8)}
    elif poison == "statistics":
        good, bad = good | {"huge": jnp.ones(8)}, good | {"huge": jnp.full(8, 1e20)}
    else:
        bad = good | {"image": good["image"].at[3, 1].set(jnp.nan)}
    before, _ = step(start(ema=True), good)
    after = before
    for count in (1, 2):
        after, metrics = step(after, bad)
        assert metrics["skipped"] == after.skipped == count
        for part in ("params", "opt_state", "model_state", "ema"):
            assert_same(getattr(after, part), getattr(before, part))
        assert after.step == before.step + count
    again, metrics = step(after, good)
    assert metrics["skipped"] == again.skipped == 0 and again.step == 4
    assert not np.array_equal(again.params["out"], before.params["out"])


@pytest.mark.parametrize("rate", [1e25, 1e38])
def test_weights_that_become_too_large_to_be_squared_are_not_kept(rate: float) -> None:
    descent = optax.sgd(rate)
    state, step = start(descent, ema=True), step_with(optimizer=descent, ema=0.9)
    after, metrics = step(state, batch_of(8))
    assert np.isfinite(metrics["grad_norm"]) and metrics["skipped"] == 1
    assert_same(after.replace(step=state.step, skipped=state.skipped), state)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lamb", "lion", "muon"])
def test_the_schedule_follows_the_number_of_the_step_whatever_was_skipped(name: str) -> None:
    """At step 1 the rate is 0, which is what a count of the updates would still say at step 2."""
    optimizer = getattr(optim, name)(lambda count: 0.1 * (jnp.asarray(count) != 1), 0.1)
    step, good = step_with(optimizer=optimizer), batch_of(8)
    bad = good | {"image": jnp.full((8, 3), jnp.nan)}
    first, _ = step(start(optimizer), good)
    skipped, metrics = step(first, bad)
    assert metrics["skipped"] == 1
    found, _ = step(skipped, good)
    assert not np.array_equal(found.params["out"], first.params["out"])
    # What else the optimizer counts, as Adam for its bias, are updates.
    expected, _ = step(first.replace(step=jnp.int32(2)), good)
    assert_same((found.params, found.opt_state), (expected.params, expected.opt_state))


def test_float16_scale_halves_until_gradients_fit_and_leaves_them_unscaled() -> None:
    def steep(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Tree, Sums]:
        # The slope with respect to a float16 value is 100, times the scale: too much above 65,504.
        value = (variables["params"]["out"].astype(jnp.float16)).sum().astype(jnp.float32)
        return 100 * value, {"batch_stats": variables["batch_stats"]}, {"loss": (100 * value, jnp.float32(1))}

    descent = optax.sgd(1e-3)
    state, step, batch = start(descent, loss_scale=True), step_with(TASK._replace(loss=steep), descent), batch_of(4)
    first = state.params["out"]
    for halvings in range(1, 7):  # 2**15 ... 2**10
        state, metrics = step(state, batch)
        assert state.loss_scale.scale == 2.0 ** (15 - halvings) and metrics["skipped"] == halvings
        assert_same(state.params["out"], first)
    state, metrics = step(state, batch)
    assert state.loss_scale.scale == 2.0**9 and state.loss_scale.good_steps == 1 and metrics["skipped"] == 0
    np.testing.assert_allclose(state.params["out"], first - 0.1, rtol=1e-5)


def test_float16_scale_doubles_after_2000_good_steps() -> None:
    state, step, batch = start(loss_scale=True), step_with(), batch_of(4)
    scale = state.loss_scale.scale
    state = state.replace(loss_scale=state.loss_scale.replace(good_steps=jnp.int32(1998)))
    state, _ = step(state, batch)
    assert state.loss_scale.scale == scale and state.loss_scale.good_steps == 1999
    state, _ = step(state, batch)
    assert state.loss_scale.scale == 2 * scale and state.loss_scale.good_steps == 0


def test_random_numbers_depend_on_seed_step_and_position_alone() -> None:
    def noise(keys: jax.Array, batch: Batch) -> Batch:
        return batch | {"image": jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)}

    step = step_with(TASK._replace(loss=_seeing), augment=noise)
    state, batch = start(), batch_of(8)
    first = step(state, batch)[1]
    assert_same(first, step(state, batch_of(8, seed=5))[1])  # not on the data
    assert len(np.unique(np.asarray(first["image"][0]))) == 24  # each example its own
    later = step(state.replace(step=jnp.int32(1)), batch)[1]
    assert not np.intersect1d(first["image"][0], later["image"][0]).size
    assert first["dropout"][0] != later["dropout"][0]
    assert_same(step(start(), batch_of(4))[1]["image"][0], first["image"][0][:4])  # nor on the size of the batch


def _seeing(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Tree, Sums]:
    """Returns the random numbers themselves as metrics."""
    one = jnp.float32(1)
    sums = {"image": (batch["image"], one), "dropout": (jax.random.uniform(key), one), "loss": (one, one)}
    return variables["params"]["out"].sum(), {"batch_stats": variables["batch_stats"]}, sums


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_network_trains_in_half_precision(precision: str, config: Experiment, source: ArraySource) -> None:
    config.compute.precision = precision
    run = assemble(config, source.spec, len(source))
    state, losses = fresh(run), []
    for number in range(20):
        state, fetch = run.engine.step(state, run.engine.place_batch(training_batch(source, 0, number, 16)))
        metrics = fetch()
        total, count = metrics["loss"]
        losses += [float(total / count)] if metrics["skipped"] == 0 else []
    assert len(losses) >= 10 and np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert {leaf.dtype for leaf in jax.tree.leaves((state.params, state.model_state))} == {jnp.dtype("float32")}
    assert (state.loss_scale is not None) == (precision == "float16")


def test_under_x64_everything_keeps_its_type(config: Experiment, source: ArraySource) -> None:
    config.optim = Optim(build=optim.adamw, lr=0.1, weight_decay=0.1, schedule=schedules.wsd, ema=0.9, clip=1.0)
    config.compute.precision = "float16"  # for the scale of the loss
    batch = jax.eval_shape(lambda: Batch({n: jnp.asarray(a) for n, a in training_batch(source, 0, 0, 16).items()}, {}))
    with jax.enable_x64(True):
        run = assemble(config, source.spec, len(source))
        before = jax.eval_shape(run.create, {})
        step = partial(train_step, task=run.task, optimizer=run.optimizer, augment=identity, settings=Settings(ema=0.9))
        traced = jax.jit(step).trace(before, Batch(dict(batch.items()), source.spec.fields), jax.random.key(0))
        traced.lower()  # where convolutions are written as what a CPU is fast at
    after, metrics = traced.out_info
    types = partial(jax.tree.map, lambda array: array.dtype)
    assert types(after) == types(before)
    assert {str(dtype) for dtype in jax.tree.leaves(types((after, metrics)))} == {"float32", "int32"}
