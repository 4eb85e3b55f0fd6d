"""Losses of segmentation: their definitions in plain NumPy, hard inputs, and any number of devices."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_jax.lookup import describe, lookup
from cnn_jax.ops import segmentation_losses as losses
from cnn_jax.ops.batch_axis import AXIS, mean_over_devices
from cnn_jax.ops.distance import distance_to

SHAPE, CLASSES = (8, 3, 4), 4
WEIGHTS = (0.5, 2.0, 0.0, 1.5)
# Every loss with the settings that its definition below has too.
LOSSES = {
    "cross_entropy": losses.cross_entropy,
    "cross_entropy_weighted": partial(losses.cross_entropy, class_weights=WEIGHTS, smoothing=0.1),
    "focal": losses.focal,
    "focal_weighted": partial(losses.focal, gamma=0.5, class_weights=WEIGHTS, weight=3.0),
    "ohem": partial(losses.ohem, threshold=0.2, least=0.25),
    "ohem_weighted": partial(losses.ohem, threshold=0.0, least=0.5, class_weights=WEIGHTS),
    "dice": losses.dice,
    "dice_per_image": partial(losses.dice, per_image=True, background=0, smooth=0.0),
    "tversky": partial(losses.tversky, background=2, weight=0.5),
    "tversky_per_image": partial(losses.tversky, false_positive=1.0, false_negative=1.0, smooth=1.0, per_image=True),
    "lovasz": losses.lovasz_softmax,
    "lovasz_per_image": partial(losses.lovasz_softmax, per_image=True, background=3),
    "boundary": partial(losses.boundary, background=0),
}


def value_of(loss: losses.Loss, *at: jax.Array) -> jax.Array:
    return losses.value(loss(*at))


def all_of(*at: jax.Array, names: Iterable[str] = LOSSES) -> dict[str, tuple[jax.Array, jax.Array]]:
    """{loss: (value, gradient)}: one program for all of them."""
    return {name: jax.value_and_grad(partial(value_of, LOSSES[name]))(*at) for name in names}


found = jax.jit(all_of)


# The definitions: loops over what there is, in float64.


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def pixels(logits, truth, counted):
    """(log probabilities [K], class) of the pixels that count."""
    x = logits.astype(np.float64)
    logs = x - x.max(-1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(-1, keepdims=True))
    return [(logs[at], truth[at]) for at in np.ndindex(truth.shape) if counted[at]]


def mean(values, weights=None):
    weights = np.ones(len(values)) if weights is None else np.array(weights)
    return (np.array(values) * weights).sum() / weights.sum() if len(values) and weights.sum() else 0.0


def regions(logits, truth, counted, per_image, background):
    """(probabilities [N], whether it is the class [N]) of each class that counts, for each group with pixels."""
    p = softmax(logits)
    for group in [[b] for b in range(len(truth))] if per_image else [list(range(len(truth)))]:
        real = counted[group] > 0
        if real.any():
            kept = [k for k in range(logits.shape[-1]) if k != background]
            yield [(p[group][real][:, k], truth[group][real] == k) for k in kept]


def tversky(x, y, c, per_image, background, a, b, smooth):
    def of_class(p, own):
        t, f, m = (p * own).sum(), (p * ~own).sum(), ((1 - p) * own).sum()
        under = t + a * f + b * m + smooth
        return 1 - ((t + smooth) / under if under > 0 else 1)

    return mean([np.mean([of_class(*pair) for pair in group]) for group in regions(x, y, c, per_image, background)])


def lovasz(x, y, c, per_image, background):
    """By the definition of the extension (eq. 5): sum of errors x (loss with that pixel wrong too - loss without)."""

    def of_class(p, own):
        errors = np.abs(own - p)
        total, wrong, before = 0.0, np.zeros(len(p), bool), 0.0
        for i in np.argsort(-errors, kind="stable"):
            wrong[i] = True
            jaccard = 1 - (own & ~wrong).sum() / (own | wrong).sum()
            total, before = total + errors[i] * (jaccard - before), jaccard
        return total

    return mean(
        [mean([of_class(p, own) for p, own in group if own.any()]) for group in regions(x, y, c, per_image, background)]
    )


def ohem(x, y, c, threshold, least, class_weights):
    all_ = sorted(((log[k], k) for log, k in pixels(x, y, c)))
    wanted = int(np.ceil(np.float32(least) * len(all_)))
    kept = [(log, k) for i, (log, k) in enumerate(all_) if i < wanted or np.exp(log) < threshold]
    return mean([-log for log, _ in kept], [class_weights[k] for _, k in kept])


def boundary(x, y, c, background):
    p, values = softmax(x), []
    where = np.argwhere(np.ones(y.shape[1:]))
    for b, i, j in np.argwhere(c > 0):
        total = []
        for k in range(x.shape[-1]):
            if k != background:
                inside = [q for q in where if c[b, q[0], q[1]] and y[b, q[0], q[1]] == k]
                outside = [q for q in where if c[b, q[0], q[1]] and y[b, q[0], q[1]] != k]
                near = [min((np.hypot(*(q - (i, j))) for q in side), default=None) for side in (inside, outside)]
                signed = 0 if None in near else near[0] if y[b, i, j] != k else 1 - near[1]
                total.append(signed * p[b, i, j, k])
        values.append(np.mean(total))
    return mean(values)


def smoothed(x, y, c, w, e):
    all_ = pixels(x, y, c)
    sums = [-(1 - e) * w[k] * log[k] - e * np.mean(w * log) for log, k in all_]
    weights = sum(w[k] for _, k in all_)
    return sum(sums) / weights if weights else 0.0


def focal(x, y, c, gamma, w):
    return mean([-((1 - np.exp(log[k])) ** gamma) * w[k] * log[k] for log, k in pixels(x, y, c)])


EVEN = (1.0,) * CLASSES
DEFINITIONS = {
    "cross_entropy": lambda *at: mean([-log[k] for log, k in pixels(*at)]),
    "cross_entropy_weighted": lambda *at: smoothed(*at, np.array(WEIGHTS), 0.1),
    "focal": lambda *at: focal(*at, 2.0, EVEN),
    "focal_weighted": lambda *at: 3 * focal(*at, 0.5, WEIGHTS),
    "ohem": lambda *at: ohem(*at, 0.2, 0.25, EVEN),
    "ohem_weighted": lambda *at: ohem(*at, 0.0, 0.5, WEIGHTS),
    "dice": lambda *at: tversky(*at, False, None, 0.5, 0.5, 0.5e-5),
    "dice_per_image": lambda *at: tversky(*at, True, 0, 0.5, 0.5, 0.0),
    "tversky": lambda *at: 0.5 * tversky(*at, False, 2, 0.3, 0.7, 1e-5),
    "tversky_per_image": lambda *at: tversky(*at, True, None, 1.0, 1.0, 1.0),
    "lovasz": lambda *at: lovasz(*at, False, None),
    "lovasz_per_image": lambda *at: lovasz(*at, True, 3),
    "boundary": lambda *at: boundary(*at, 0),
}


def example(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, true classes without class 3 in the first image, and which pixels count; truth is 0 where none does."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, CLASSES, SHAPE).astype(np.int32)
    truth[0] = np.minimum(truth[0], 2)
    counted = (draw.random(SHAPE) < 0.7).astype(np.float32)
    counted[1] = 0
    return 2 * draw.normal(size=(*SHAPE, CLASSES)).astype(np.float32), truth * (counted > 0), counted


def _inputs() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    logits, truth, counted = example()
    ones = np.ones_like(counted)
    return {
        "random": (logits, truth, counted),
        "all count": (logits, example(1)[1], ones),
        "none counts": (logits, 0 * truth, 0 * counted),
        "one pixel": (logits, 0 * truth, ones * (np.arange(ones.size).reshape(SHAPE) == 5)),
        "classes that no pixel has": (logits, truth * (truth < 2), counted),
        "one class": (logits, np.where(counted > 0, 1, 0).astype(np.int32), counted),
        "no weight": (logits, np.where(counted > 0, 2, 0).astype(np.int32), counted),
        "huge": (np.float32(1e4) * np.sign(logits), truth, counted),
        "sure and right": (np.float32(1e4) * (2 * np.eye(CLASSES, dtype=np.float32)[truth] - 1), truth, counted),
    }


INPUTS = _inputs()


@pytest.mark.parametrize("kind", INPUTS)
def test_losses_are_their_definitions(kind: str) -> None:
    for name, (value, gradient) in found(*INPUTS[kind]).items():
        wanted = DEFINITIONS[name](*INPUTS[kind])
        np.testing.assert_allclose(value, wanted, rtol=2e-5, atol=2e-6, err_msg=f"{name}, {kind}")
        assert np.isfinite(gradient).all(), name
        assert not np.asarray(gradient)[INPUTS[kind][2] == 0].any(), name


def test_gradients_are_those_of_the_definitions() -> None:
    logits, truth, counted = INPUTS["random"]
    gradients = {name: np.asarray(gradient) for name, (_, gradient) in found(logits, truth, counted).items()}
    step = np.random.default_rng(2).normal(size=logits.shape)
    for name, definition in DEFINITIONS.items():
        low, high = (definition(logits.astype(np.float64) + side * 1e-6 * step, truth, counted) for side in (-1, 1))
        slope = (high - low) / 2e-6
        assert (gradients[name] * step).sum() == pytest.approx(slope, rel=2e-4, abs=1e-6), name


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_what_does_not_count_changes_nothing(seed: int) -> None:
    logits, truth, counted = example(seed)
    others = np.where(counted[..., None] > 0, logits, np.random.default_rng(seed + 1).normal(0, 9, logits.shape))
    for name, (value, gradient) in found(logits, truth, counted).items():
        same = found(others.astype(np.float32), truth, counted)[name]
        assert same[0] == value and np.array_equal(same[1], gradient), name


# One of each way to bring devices together: their counts alone, least probabilities, sums, and all pixels.
APART = ("cross_entropy_weighted", "tversky_per_image", "ohem", "dice", "lovasz")


@pytest.mark.parametrize("kind", ["random", "classes that no pixel has", "one pixel", "none counts"])
def test_values_and_gradients_do_not_depend_on_the_devices(kind: str, splits: list[Callable[..., Any]]) -> None:
    """Each device has one image; the second one no pixel that counts."""
    one = found(*INPUTS[kind])
    for split in splits:
        for name, (value, gradient) in split(*INPUTS[kind]).items():
            np.testing.assert_allclose(value, one[name][0], rtol=1e-5, atol=1e-7, err_msg=name)
            np.testing.assert_allclose(gradient, one[name][1], rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.fixture(scope="module")
def splits() -> list[Callable[..., Any]]:
    """The program of each device, whose values and gradients the step averages; and the global one over split arrays.

    The logits of an image are on its device alone, so the mean of their gradients over devices is a share of it.
    """
    mesh = jax.make_mesh((len(jax.devices()),), (AXIS,), axis_types=(AxisType.Auto,))

    def of_device(*at: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        of_all = all_of(*at, names=APART).items()
        return {name: (mean_over_devices(value), gradient / mesh.size) for name, (value, gradient) in of_all}

    specs = {name: (P(), P(AXIS)) for name in APART}
    mapped = jax.shard_map(of_device, mesh=mesh, in_specs=P(AXIS), out_specs=specs, check_vma=False)
    over = jax.jit(partial(all_of, names=APART), in_shardings=NamedSharding(mesh, P(AXIS)))
    return [jax.jit(mapped), over]


def test_total_adds_terms_up_and_refuses_two_of_one_name() -> None:
    both = losses.total(losses.cross_entropy, partial(losses.dice, weight=0.5))
    terms = jax.jit(both)(*INPUTS["random"])
    wanted = {"cross_entropy": 1.0, "dice": 0.5}
    assert {name: total / count for name, (total, count) in terms.items()} == {
        name: pytest.approx(weight * DEFINITIONS[name](*INPUTS["random"]), rel=1e-5) for name, weight in wanted.items()
    }
    with pytest.raises(ValueError, match="two losses have the term 'dice'"):
        jax.eval_shape(losses.total(losses.dice, losses.dice), *INPUTS["random"])
    recorded = describe(both)
    assert describe(lookup(recorded)) == recorded


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (partial(losses.cross_entropy, class_weights=(1.0, 2.0)), "there are 4 classes"),
        (partial(losses.ohem, class_weights=(1.0, 2.0, -1.0, 1.0)), "a weight >= 0"),
        (partial(losses.dice, background=4), "one of the classes 0 to 3"),
    ],
)
def test_settings_that_do_not_fit_are_said(loss: losses.Loss, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        jax.eval_shape(loss, *INPUTS["random"])


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.01, 0.1, 0.9]))
def test_distances_are_euclidean(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((2, 9, 14, 2)) < share
    got = np.asarray(distances(mask))
    for b, k in np.ndindex(2, 2):
        near = np.argwhere(mask[b, :, :, k])
        for at in np.ndindex(9, 14):
            wanted = min((np.hypot(*(q - at)) for q in near), default=np.inf)
            assert got[b, *at, k] == pytest.approx(wanted, rel=1e-6)


distances = jax.jit(distance_to)
