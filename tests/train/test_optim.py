"""Optimizers against their written formulas in NumPy, over three steps of a tree with a kernel, a matrix and a bias."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.train import optim

DECAY = 0.1
RATES = [0.1, 0.05, 0.02]
# The last three: a weight-standardised kernel's gain, the gain of a skip connection, and a bias with a place.
SHAPES = {
    "bias": (4,),
    "dense": (6, 4),
    "kernel": (3, 3, 2, 4),
    "norm": (4,),
    "gain": (4, 1, 1, 1),
    "skipinit_gain": (),
    "position_bias": (3, 3, 4),
}
Tree = dict[str, np.ndarray]


def tree(seed: int) -> Tree:
    draw = np.random.default_rng(seed)
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def schedule(step: jax.Array) -> jax.Array:
    return jnp.asarray(RATES)[step]


def trained(optimizer: optax.GradientTransformation, gradients: list[Tree]) -> Tree:
    params = jax.tree.map(jnp.asarray, tree(0))
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return jax.tree.map(np.asarray, params)


def decay(name: str) -> float:
    return DECAY if name in ("dense", "kernel") else 0.0


def nesterov(name: str, p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    velocity = np.zeros_like(p)
    for lr, g in zip(RATES, gradients, strict=True):
        g = g + decay(name) * p
        velocity = 0.9 * velocity + g
        p = p - lr * (g + 0.9 * velocity)
    return p


def heavy_ball(name: str, p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    velocity = np.zeros_like(p)
    for lr, g in zip(RATES, gradients, strict=True):
        velocity = 0.5 * velocity + g + decay(name) * p
        p = p - lr * velocity
    return p


def plain_descent(name: str, p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    for lr, g in zip(RATES, gradients, strict=True):
        p = p - lr * (g + decay(name) * p)
    return p


def adam_directions(gradients: list[np.ndarray], b1: float, b2: float, eps: float) -> list[np.ndarray]:
    m = v = np.zeros_like(gradients[0])
    found = []
    for t, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        found.append(m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps))
    return found


def adam(name: str, p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    seen: list[np.ndarray] = []
    for lr, g in zip(RATES, gradients, strict=True):
        seen.append(g + decay(name) * p)
        p = p - lr * adam_directions(seen, 0.9, 0.999, 1e-8)[-1]
    return p


def adamw(name: str, p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    for lr, direction in zip(RATES, adam_directions(gradients, 0.8, 0.99, 1e-3), strict=True):
        p = p - lr * (direction + decay(name) * p)
    return p


def lamb(name: str, p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    for lr, direction in zip(RATES, adam_directions(gradients, 0.9, 0.999, 1e-6), strict=True):
        update = direction + decay(name) * p
        p = p - lr * np.linalg.norm(p) / np.linalg.norm(update) * update
    return p


def lion(name: str, p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    m = np.zeros_like(p)
    for lr, g in zip(RATES, gradients, strict=True):
        p = p - lr * (np.sign(0.9 * m + 0.1 * g) + decay(name) * p)
        m = 0.99 * m + 0.01 * g
    return p


def adadelta(name: str, p: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    squares = steps = np.zeros_like(p)
    for lr, g in zip(RATES, gradients, strict=True):
        g = g + decay(name) * p
        squares = 0.9 * squares + 0.1 * g * g
        step = np.sqrt((steps + 1e-6) / (squares + 1e-6)) * g
        steps = 0.9 * steps + 0.1 * step * step
        p = p - lr * step
    return p


@pytest.mark.parametrize(
    ("optimizer", "formula"),
    [
        (optim.sgd(schedule, DECAY), nesterov),
        (optim.sgd(schedule, DECAY, momentum=0.5, nesterov=False), heavy_ball),
        (optim.sgd(schedule, DECAY, momentum=0.0, nesterov=False), plain_descent),
        (optim.adam(schedule, DECAY), adam),
        (optim.adamw(schedule, DECAY, b1=0.8, b2=0.99, eps=1e-3), adamw),
        (optim.lamb(schedule, DECAY), lamb),
        (optim.lion(schedule, DECAY), lion),
        (optim.adadelta(schedule, DECAY, rho=0.9), adadelta),
    ],
    ids=["nesterov", "heavy_ball", "plain", "adam", "adamw", "lamb", "lion", "adadelta"],
)
def test_three_steps_are_the_formula(
    optimizer: optax.GradientTransformation, formula: Callable[..., np.ndarray]
) -> None:
    gradients = [tree(seed) for seed in (1, 2, 3)]
    found = trained(optimizer, gradients)
    for name, start in tree(0).items():
        expected = formula(name, start.astype(np.float64), [g[name].astype(np.float64) for g in gradients])
        np.testing.assert_allclose(found[name], expected, rtol=2e-5, atol=2e-6, err_msg=name)


def test_the_rows_of_the_last_layer_are_held_to_their_norm() -> None:
    """After each step, columns alone of that kernel, and only those that are longer."""
    kernel = np.array([[3.0, 0.1], [4.0, 0.2]], np.float32)
    params = {"classifier": {"kernel": kernel, "bias": np.ones(2, np.float32)}, "dense": {"kernel": kernel}}
    optimizer = optim.adadelta(lambda _: 1.0, 0.0, max_norm=3.0)
    still = jax.tree.map(np.zeros_like, params)
    updates, _ = optimizer.update(still, optimizer.init(params), params)
    found = optax.apply_updates(params, updates)
    np.testing.assert_allclose(found["classifier"]["kernel"], [[1.8, 0.1], [2.4, 0.2]], rtol=1e-6)
    np.testing.assert_array_equal(found["dense"]["kernel"], kernel)
    np.testing.assert_array_equal(found["classifier"]["bias"], 1)
    with pytest.raises(ValueError, match="max_norm = -1 must be at least 0"):
        optim.adadelta(lambda _: 1.0, 0.0, max_norm=-1)


OPTIMIZERS = [optim.sgd, optim.adam, optim.adamw, optim.lamb, optim.lion, optim.muon, optim.adadelta]


@pytest.mark.parametrize("build", OPTIMIZERS)
def test_decay_shrinks_kernels_and_leaves_norms_and_biases(build: Callable[..., optax.GradientTransformation]) -> None:
    still = jax.tree.map(np.zeros_like, tree(0))
    found, start = trained(build(schedule, DECAY), [still] * 3), tree(0)
    for name in SHAPES:
        if decay(name):
            assert np.linalg.norm(found[name]) < np.linalg.norm(start[name]), name
        else:
            np.testing.assert_array_equal(found[name], start[name], err_msg=name)


@pytest.mark.parametrize("build", OPTIMIZERS)
def test_without_decay_and_gradient_nothing_moves(build: Callable[..., optax.GradientTransformation]) -> None:
    found = trained(build(schedule, 0.0), [jax.tree.map(np.zeros_like, tree(0))] * 3)
    jax.tree.map(np.testing.assert_array_equal, found, tree(0))


def test_muon_moves_a_kernel_by_a_nearly_orthogonal_matrix() -> None:
    """Jordan et al. 2024: five iterations bring all singular values to about 0.7 ... 1.2, scaled by the aspect."""
    gradient = tree(1)
    step = (tree(0)["kernel"] - trained(optim.muon(schedule, 0.0), [gradient])["kernel"]).reshape(18, 4) / RATES[0]
    values = np.linalg.svd(step, compute_uv=False)
    assert values.min() > 0.6 and values.max() < 1.3
    u, _, v = np.linalg.svd(gradient["kernel"].reshape(18, 4), full_matrices=False)
    assert np.sum(step * (u @ v)) > 0.95 * np.linalg.norm(step) * np.linalg.norm(u @ v)  # the nearest orthogonal one


def test_muon_is_adamw_at_a_lower_rate_for_what_is_no_kernel() -> None:
    gradients = [tree(seed) for seed in (1, 2, 3)]
    found = trained(optim.muon(schedule, DECAY, adam_lr=0.3), gradients)
    expected = trained(optim.adamw(lambda step: 0.3 * schedule(step), DECAY), gradients)
    for name in ("bias", "dense", "norm"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)
    assert not np.allclose(found["kernel"], expected["kernel"], atol=1e-2)


@pytest.mark.parametrize(("build", "shares"), [(optim.sgd, {"momentum": 2.0}), (optim.adamw, {"b2": 1.0})])
def test_averages_that_grow_are_refused(build: Callable[..., optax.GradientTransformation], shares: dict) -> None:
    with pytest.raises(ValueError, match="must be at least 0 and below 1"):
        build(lambda step: 0.1, 0.0, **shares)
