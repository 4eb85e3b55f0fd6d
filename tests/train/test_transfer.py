"""What is frozen stays to the bit and costs nothing, the rest moves at its own rate, on any devices."""

import dataclasses
from functools import partial

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.batch import Batch
from cnn_jax.config import Compute, Experiment, Optim, Transfer
from cnn_jax.data.batches import training_batch
from cnn_jax.data.source import ArraySource
from cnn_jax.data.spec import VALID
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.tasks.task import Task
from cnn_jax.train.optim import adamw, sgd
from cnn_jax.train.predictor import make_model
from cnn_jax.train.run import Run, assemble, fresh
from cnn_jax.train.schedules import constant
from cnn_jax.train.transfer import plan

SHAPE = (8, 8, 1)
STEPS = 3


def run_with(config: Experiment, source: ArraySource, transfer: Transfer, **compute: object) -> Run:
    config = dataclasses.replace(config, transfer=transfer, compute=Compute(**{"devices": 1, **compute}))  # type: ignore[arg-type]
    return assemble(config, source.spec, len(source))


def trained(run: Run, source: ArraySource) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict]:
    """All variables (the averaged ones too) before and after a few steps, and the optimizer's arrays."""

    def variables(state):
        whole = jax.device_get(run.engine.whole(state))
        flat = {"params": whole.params, **whole.model_state}
        return flatten_dict({"now": flat, **({"ema": whole.ema} if whole.ema else {})}, sep="/")

    state = fresh(run)
    before = {path: value.copy() for path, value in variables(state).items()}
    for step in range(STEPS):
        state, _ = run.engine.step(state, run.engine.place_batch(training_batch(source, 0, step, 16)))
    return before, variables(state), run.engine.whole(state).opt_state


def plain_task(config: Experiment, source: ArraySource) -> Task:
    return config.model.task(make_model(config.model, config.compute.precision, source.spec), source.spec)


def batch_of(source: ArraySource) -> Batch:
    arrays = {**source.batch(np.arange(16)), VALID: np.ones(16, np.float32)}
    return Batch(jax.tree.map(jax.numpy.asarray, arrays), source.spec.fields)


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {path for path in before if (before[path] != after[path]).any()}


@pytest.fixture
def config(config: Experiment) -> Experiment:
    optim = Optim(build=adamw, lr=0.01, weight_decay=0.1, schedule=constant, ema=0.9)
    return dataclasses.replace(config, optim=optim)


@pytest.mark.parametrize(
    ("transfer", "moves"),
    [
        (Transfer(frozen="stage1", layer_decay=0.5), {"stage2", "pooled", "classifier"}),
        (Transfer(frozen="backbone"), {"classifier"}),
    ],
    ids=["stage", "backbone"],
)
def test_frozen_variables_stay_to_the_bit_and_all_others_move(
    config: Experiment, source: ArraySource, transfer: Transfer, moves: set[str]
) -> None:
    before, after, opt_state = trained(run_with(config, source, transfer), source)
    modules = {
        "stage1": {"conv1", "norm1"},
        "stage2": {"conv2", "norm2"},
        "pooled": {"hidden", "hidden_norm"},
        "classifier": {"classifier"},
    }
    moving = set().union(*(modules[stage] for stage in moves))
    assert changed(before, after) == {path for path in before if path.split("/")[2] in moving}
    assert any("batch_stats" in path for path in changed(before, after)) == ("pooled" in moves)
    held = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(opt_state) if leaf.ndim]
    assert all(
        any(module in path for path in held) == (module in moving) for module in ("conv1", "conv2", "classifier")
    )


def test_frozen_norms_keep_their_statistics_everywhere_and_learn_on(config: Experiment, source: ArraySource) -> None:
    before, after, _ = trained(run_with(config, source, Transfer(frozen_norm=True)), source)
    assert changed(before, after) == {path for path in before if "/params/" in path}


def test_learning_rates_decay_by_stage(config: Experiment, source: ArraySource) -> None:
    """The first update of each variable is exactly its factor times that without decay."""
    model = make_model(config.model, config.compute.precision, source.spec)
    factors = plan(Transfer(layer_decay=0.5), model, SHAPE)
    stages = {"conv1": 1 / 8, "norm1": 1 / 8, "conv2": 1 / 4, "norm2": 1 / 4, "hidden": 1 / 2, "hidden_norm": 1 / 2}
    assert {path.split("/")[1]: factor for path, factor in factors.items()} == {**stages, "classifier": 1.0}

    variables = plain_task(config, source).init(jax.random.key(0))
    grads = jax.tree.map(np.ones_like, variables["params"])

    def first_update(transfer: Transfer) -> dict[str, np.ndarray]:
        optimizer = run_with(config, source, transfer).optimizer
        updates, _ = optimizer.update(grads, optimizer.init(variables["params"]), variables["params"])
        return flatten_dict(updates, sep="/")

    plain, decayed = first_update(Transfer()), first_update(Transfer(layer_decay=0.5))
    for path, update in plain.items():
        np.testing.assert_array_equal(decayed[path], factors[f"params/{path}"] * update)
    half_frozen = first_update(Transfer(layer_decay=0.5, frozen="stage1"))
    assert not half_frozen["conv1/kernel"].any()
    np.testing.assert_array_equal(half_frozen["conv2/kernel"], decayed["conv2/kernel"])


def test_a_frozen_stage_computes_in_training_what_it_computes_in_evaluation(
    config: Experiment, source: ArraySource
) -> None:
    config.model.build = partial(small_cnn, features=(8, 16), hidden=16, dropout=0.0)
    run = run_with(config, source, Transfer(frozen="backbone"))
    batch = batch_of(source)
    variables = run.task.init(jax.random.key(0))
    losses = [run.task.loss(variables, batch, jax.random.key(1), train)[0] for train in (True, False)]
    np.testing.assert_allclose(*losses, rtol=1e-6)
    plain = plain_task(config, source).loss(variables, batch, jax.random.key(1), True)[0]
    assert abs(plain - losses[0]) > 1e-3  # of which the statistics of the batch would make something else


def test_frozen_stages_have_no_backward_pass(config: Experiment, source: ArraySource) -> None:
    def convolutions(transfer: Transfer) -> int:
        task = run_with(config, source, transfer).task
        batch = batch_of(source)
        variables = task.init(jax.random.key(0))
        state = {name: value for name, value in variables.items() if name != "params"}

        def loss(params):
            return task.loss({"params": params, **state}, batch, jax.random.key(1), True)[0]

        compiled = jax.jit(jax.grad(loss)).lower(variables["params"]).compile()
        return int(compiled.cost_analysis()["flops"])

    assert convolutions(Transfer(frozen="backbone")) < 0.6 * convolutions(Transfer())


def test_many_devices_and_parts_equal_one_device(config: Experiment, source: ArraySource) -> None:
    config.optim.accumulate = 2
    transfer = Transfer(frozen="stage1", frozen_norm=True, layer_decay=0.5)
    before, expected, _ = trained(run_with(config, source, transfer), source)
    assert any("conv1" in path for path in before)
    for parallel in ("fsdp", "pmap"):
        _, found, _ = trained(run_with(config, source, transfer, parallel=parallel, devices=4), source)
        for path, value in expected.items():
            np.testing.assert_allclose(found[path], value, rtol=1e-3, atol=1e-5, err_msg=path)
        assert not changed({path: before[path] for path in before if "conv1" in path}, found)


def test_remat_and_float16(config: Experiment, source: ArraySource) -> None:
    run = run_with(config, source, Transfer(frozen="stage2"), remat=True, precision="float16")
    before, after, _ = trained(run, source)
    assert {path.split("/")[2] for path in changed(before, after)} == {"hidden", "hidden_norm", "classifier"}


def test_without_wishes_nothing_is_wrapped(config: Experiment, source: ArraySource) -> None:
    run = run_with(config, source, Transfer())
    plain = optax.adamw(0.1).init({"kernel": np.ones((2, 2))})
    assert type(run.optimizer.init({"kernel": np.ones((2, 2))})) is type(plain)
    assert "frozen" not in run.task.loss.__qualname__


def test_an_unknown_feature_map_is_refused(config: Experiment, source: ArraySource) -> None:
    with pytest.raises(ValueError, match="'stage7' is no feature map of the model: did you mean 'stage2'"):
        run_with(config, source, Transfer(frozen="stage7"))


def test_weights_that_are_given_replace_what_is_drawn(config: Experiment, source: ArraySource) -> None:
    run = assemble(dataclasses.replace(config, optim=Optim(build=sgd, lr=0.1, schedule=constant)), source.spec, 80)
    loaded = {"params/conv1/kernel": np.full((3, 3, 1, 8), 7, np.float32)}
    drawn, given = fresh(run), fresh(run, loaded)
    assert (np.asarray(given.params["conv1"]["kernel"]) == 7).all()
    np.testing.assert_array_equal(given.params["conv2"]["kernel"], drawn.params["conv2"]["kernel"])
