"""The CPU lowerings against XLA's convolution: values, both gradients, and every transformation that JAX offers."""

import functools
import random
import re
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_jax.ops import conv_lowerings as rules
from cnn_jax.ops import winograd
from cnn_jax.ops.conv_geometry import Geometry, channels_last
from cnn_jax.ops.convolution import conv_general_dilated, convolution, lowering

Case = dict


def case(x: tuple, window: tuple, features: int, padding: tuple, strides=None, dilation=None, groups: int = 1) -> Case:
    ones = (1,) * len(window)
    kernel = (*window, x[-1] // groups, features)
    return dict(x=x, kernel=kernel, padding=padding, strides=strides or ones, dilation=dilation or ones, groups=groups)


ONE = ((1, 1), (1, 1))
# One case for every branch of the rules, with the forward, input gradient and weight gradient they must choose.
CASES = {
    "winograd": case((4, 9, 11, 32), (3, 3), 40, ((1, 1), (0, 2))),
    "winograd chunks": case((12, 32, 32, 32), (3, 3), 32, ONE),
    "pointwise": case((3, 5, 6, 7), (1, 1), 4, ((0, 0), (1, 0)), strides=(2, 1)),
    "pointwise chunks": case((8, 32, 32, 3), (1, 1), 5, ((0, 0), (0, 0))),
    "pairs": case((2, 9, 7, 3), (3, 5), 6, ((1, 1), (2, 3)), strides=(2, 1)),
    "nothing padded": case((2, 9, 8, 17), (3, 2), 6, ((0, 0), (0, 0))),
    "two sides": case((2, 18, 9, 9), (3, 4), 6, ((2, 1), (1, 0)), strides=(1, 2), dilation=(2, 3)),
    "pairs in a line": case((2, 8, 1), (3,), 6, ((1, 1),)),
    "odd row of few channels": case((2, 8, 9, 1), (3, 3), 6, ONE),
    "depthwise": case((2, 8, 9, 12), (3, 3), 12, ONE, groups=12),
    "depthwise strided": case((2, 9, 8, 12), (3, 3), 12, ONE, strides=(2, 2), groups=12),
    "grouped": case((3, 7, 8, 12), (3, 2), 18, ONE, groups=3),
    "patches": case((3, 9, 8, 3), (5, 4), 6, ((2, 2), (0, 1)), strides=(2, 3)),
    "channel first": case((3, 9, 8, 5), (3, 3), 6, ((-1, 2), (3, -2)), dilation=(2, 1)),
    "channel first chunks": case((16, 24, 24, 4), (3, 3), 8, ONE),
    "patches chunks": case((6, 24, 24, 32), (3, 3), 8, ONE, strides=(2, 2)),
    "two sides chunks": case((6, 24, 24, 32), (3, 3), 8, ONE),
    "strided and dilated": case((3, 9, 8, 4), (3, 2), 6, ONE, strides=(2, 1), dilation=(1, 2)),
    "stride beyond window": case((2, 11, 10, 4), (2, 1), 3, ((-1, 0), (-2, 1)), strides=(3, 4)),
    "many taps": case((2, 150, 2), (130,), 3, ((0, 0),), strides=(4,)),
    "patch embedding": case((2, 17, 15, 3), (4, 4), 6, ((0, 0), (1, 0)), strides=(4, 4)),
    "overlapping patches": case((2, 19, 14, 2), (5, 3), 6, ((2, 2), (-1, 3)), strides=(3, 2)),
    "many phases in groups": case((2, 16, 14, 4), (5, 5), 6, ((2, 2), (2, 2)), strides=(5, 4), groups=2),
    "line": case((2, 30, 9), (5,), 6, ((2, 1),), strides=(2,)),
    "volume": case((2, 5, 6, 4, 9), (3, 2, 3), 5, ((1, 1), (0, 1), (1, 0)), strides=(2, 1, 1)),
}
CHOICES = {
    "winograd": "winograd_forward flipped_input_gradient winograd_weight_gradient",
    "pointwise": "pointwise_forward pointwise_input_gradient pointwise_weight_gradient",
    "pairs": "paired_forward phased_input_gradient patches_weight_gradient",
    "two sides": "native_forward stock_input_gradient two_sided_weight_gradient",
    "odd row of few channels": "native_forward flipped_input_gradient channel_first_weight_gradient",
    "depthwise": "shifted_forward flipped_input_gradient depthwise_weight_gradient",
    "depthwise strided": "shifted_forward phased_input_gradient depthwise_weight_gradient",
    "grouped": "native_forward flipped_input_gradient grouped_weight_gradient",
    "patches": "native_forward folded_input_gradient patches_weight_gradient",
    "channel first": "native_forward flipped_input_gradient channel_first_weight_gradient",
    "strided and dilated": "native_forward stock_input_gradient patches_weight_gradient",
    "many taps": "native_forward folded_input_gradient stock_weight_gradient",
    "stride beyond window": "native_forward folded_input_gradient patches_weight_gradient",
    "patch embedding": "native_forward folded_input_gradient patches_weight_gradient",
    "overlapping patches": "native_forward folded_input_gradient patches_weight_gradient",
    "line": "native_forward phased_input_gradient patches_weight_gradient",
    "many phases in groups": "native_forward stock_input_gradient grouped_weight_gradient",
}


def random_case(seed: int) -> Case:
    """Any shape, stride, padding (negative too), dilation and group count that leaves an output."""
    draw = random.Random(seed)
    while True:
        dims, groups = draw.choice((1, 2, 2, 2, 3)), draw.choice((1, 1, 2, 3))
        x = (draw.randint(1, 4), *(draw.randint(1, 12) for _ in range(dims)), groups * draw.choice((1, 2, 9)))
        result = case(
            x,
            tuple(draw.randint(1, 4) for _ in range(dims)),
            groups * draw.randint(1, 4),
            tuple((draw.randint(-2, 3), draw.randint(-2, 3)) for _ in range(dims)),
            tuple(draw.choice((1, 2, 3, 5)) for _ in range(dims)),
            tuple(draw.choice((1, 1, 2, 3)) for _ in range(dims)),
            groups,
        )
        if min(geometry(result).out_spatial) > 0:
            return result


def geometry(c: Case) -> Geometry:
    return Geometry(c["x"], c["kernel"], c["strides"], c["padding"], c["dilation"], c["groups"], winograd=True)


def ours(c: Case) -> Callable:
    return functools.partial(
        convolution, strides=c["strides"], padding=c["padding"], dilation=c["dilation"], groups=c["groups"]
    )


def stock(c: Case) -> Callable:
    return lambda x, kernel: lax.conv_general_dilated(
        x,
        kernel,
        c["strides"],
        c["padding"],
        rhs_dilation=c["dilation"],
        dimension_numbers=channels_last(x.ndim - 2),
        feature_group_count=c["groups"],
        precision="highest",
    )


def normal(seed: int, *shapes: tuple[int, ...]) -> list[jax.Array]:
    draw = np.random.default_rng(seed)
    return [jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes]


def error(a: jax.Array, b: jax.Array) -> float:
    """Largest difference relative to the largest value."""
    assert a.shape == b.shape and a.dtype == b.dtype
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


def worst(a: object, b: object) -> float:
    return max(jax.tree.leaves(jax.tree.map(error, a, b)))


def first_order(f: Callable, x: jax.Array, kernel: jax.Array, dy: jax.Array) -> tuple:
    y, pull = jax.vjp(f, x, kernel)
    return y, *pull(dy)


# Tests compile more than they compute: a third of the time without LLVM's optimizer.


def both(c: Case, transform: Callable, *arrays: jax.Array) -> tuple:
    """The same thing done to our convolution and to XLA's, compiled as one program."""
    return jax.jit(lambda *arrays: (transform(ours(c), *arrays), transform(stock(c), *arrays)))(*arrays)


@pytest.mark.parametrize("c", [*CASES.values(), *map(random_case, range(16))], ids=[*CASES, *map(str, range(16))])
def test_values_and_gradients_equal_stock(c: Case) -> None:
    arrays = normal(0, c["x"], c["kernel"], geometry(c).out_shape)
    a, b = both(c, first_order, *arrays)
    assert worst(a, b) < 1e-5


@pytest.mark.parametrize("name", CHOICES)
def test_rules_choose(name: str) -> None:
    g = geometry(CASES[name])
    chosen = (rules.forward_lowering(g), rules.input_gradient_lowering(g), rules.weight_gradient_lowering(g))
    assert " ".join(getattr(f, "func", f).__name__ for f in chosen) == CHOICES[name]


SECOND = ["winograd", "pointwise", "depthwise strided", "grouped", "channel first", "line"]


@pytest.mark.parametrize("name", SECOND)
def test_forward_mode_and_gradient_of_gradient(name: str) -> None:
    c = CASES[name]
    x, kernel, dx, dkernel = normal(1, c["x"], c["kernel"], c["x"], c["kernel"])

    def second_order(f: Callable, x: jax.Array, kernel: jax.Array, dx: jax.Array, dkernel: jax.Array) -> tuple:
        def gradient_norm(x: jax.Array, kernel: jax.Array) -> jax.Array:
            gradients = jax.grad(lambda x, kernel: jnp.sin(f(x, kernel) / 3).sum(), (0, 1))(x, kernel)
            return sum((g**2).sum() for g in gradients)

        return jax.jvp(f, (x, kernel), (dx, dkernel))[1], jax.grad(gradient_norm, (0, 1))(x, kernel)

    a, b = both(c, second_order, x, kernel, dx, dkernel)
    assert worst(a, b) < 2e-5


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 0)], ids=str)
def test_vmap(axes: tuple) -> None:
    c = CASES["winograd"]
    x, kernel, dy = normal(2, c["x"], c["kernel"], geometry(c).out_shape)
    xs, kernels = jnp.stack([x, 2 * x, x + 1], axes[0] or 0), jnp.stack([kernel, kernel - 1, -kernel])
    args = (x if axes[0] is None else xs, kernel if axes[1] is None else kernels, dy)

    def mapped(f: Callable, *args: jax.Array) -> tuple:
        return jax.vmap(functools.partial(first_order, f), (*axes, None))(*args)

    a, b = both(c, mapped, *args)
    assert worst(a, b) < 1e-5


def test_remat() -> None:
    c = CASES["winograd"]
    x, kernel = normal(3, c["x"], c["kernel"])

    def gradients(f: Callable, x: jax.Array, kernel: jax.Array) -> tuple:
        def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return (jnp.tanh(f(jnp.tanh(x), kernel) / 10) ** 2).sum()

        remat = jax.checkpoint(loss) if isinstance(f, functools.partial) else loss
        return jax.grad(remat, (0, 1))(x, kernel)

    a, b = both(c, gradients, x, kernel)
    assert worst(a, b) < 1e-5


@pytest.mark.parametrize("name", [*SECOND, "pairs", "depthwise", "patches"])
def test_double_precision_goes_by_the_rules(name: str) -> None:
    c = CASES[name]
    with jax.enable_x64():
        arrays = [a.astype("float64") for a in normal(5, c["x"], c["kernel"], geometry(c).out_shape)]
        a, b = both(c, first_order, *arrays)
        assert a[0].dtype == "float64" and worst(a, b) < 1e-12
        assert jax.jit(ours(c)).trace(*arrays[:2]).jaxpr.eqns[-1].primitive.name != "conv_general_dilated"


def test_float16_is_stock() -> None:
    c = CASES["winograd"]
    arrays = [a.astype("float16") for a in normal(4, c["x"], c["kernel"], geometry(c).out_shape)]
    a, b = both(c, first_order, *arrays)
    assert a[0].dtype == "float16" and worst(a, b) == 0


@pytest.mark.parametrize("name", ["winograd", "depthwise"])
def test_bfloat16_is_computed_in_float32_and_rounded(name: str) -> None:
    c = CASES[name]
    arrays = [a.astype("bfloat16") for a in normal(4, c["x"], c["kernel"], geometry(c).out_shape)]
    found = jax.jit(functools.partial(first_order, ours(c)))(*arrays)
    whole = jax.jit(functools.partial(first_order, ours(c)))(*(a.astype("float32") for a in arrays))
    for a, b in zip(found, whole, strict=True):
        assert a.dtype == "bfloat16" and b.dtype == "float32"
        np.testing.assert_array_equal(a, b.astype("bfloat16"))


def test_setting_and_precision_choose_the_lowering() -> None:
    c = CASES["winograd"]
    x, kernel = normal(6, c["x"], c["kernel"])
    f = jax.jit(ours(c))

    def text() -> str:
        return f.lower(x, kernel).as_text()

    assert "stablehlo.dot_general" in text() and "stablehlo.convolution" not in text()
    with lowering("native"):
        assert "stablehlo.convolution" in text() and "stablehlo.dot_general" not in text()
    exact = jax.jit(functools.partial(ours(c), precision="highest")).lower(x, kernel).as_text()
    assert "stablehlo.convolution" in exact and "stablehlo.dot_general" not in exact
    with jax.default_matmul_precision("highest"):
        assert "stablehlo.convolution" in text() and "stablehlo.dot_general" not in text()
    with lowering("quick"), pytest.raises(ValueError, match="quick"):
        ours(c)(x, kernel)


def test_other_platforms_get_xlas_convolution() -> None:
    c = CASES["winograd"]
    arrays = normal(7, c["x"], c["kernel"], geometry(c).out_shape)
    traced = jax.jit(functools.partial(first_order, ours(c))).trace(*arrays)
    for platform in ("cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert text.count("stablehlo.convolution") == 3 and "stablehlo.dot_general" not in text


def test_flax_module() -> None:
    (x,) = normal(8, (2, 9, 9, 32))
    layer = functools.partial(nn.Conv, 32, (3, 3), padding="SAME")
    variables = layer().init(jax.random.key(0), x)
    fast = layer(conv_general_dilated=conv_general_dilated)
    assert error(fast.apply(variables, x), layer().apply(variables, x)) < 1e-5
    assert jax.eval_shape(fast.apply, variables, x).shape == (2, 9, 9, 32)
    upsampling = nn.Conv(8, (3, 3), padding=1, input_dilation=2, conv_general_dilated=conv_general_dilated)
    variables = upsampling.init(jax.random.key(0), x)  # a dilated input is XLA's convolution
    assert error(upsampling.apply(variables, x), upsampling.clone(conv_general_dilated=None).apply(variables, x)) == 0


@pytest.mark.parametrize(
    "x, kernel, settings",
    [
        ((2, 5, 5, 6), (3, 3, 4, 6), {}),
        ((2, 5, 5, 6), (3, 3, 3, 5), {"groups": 2}),
        ((2, 5, 5, 6), (3, 6, 6), {}),
        ((2, 6), (6, 6), {}),
        ((2, 5, 5, 6), (3, 3, 6, 6), {"strides": (1, 1, 1)}),
        ((2, 5, 5, 6), (3, 3, 6, 6), {"dilation": 0}),
    ],
)
def test_misfits_are_one_line_errors(x: tuple, kernel: tuple, settings: dict) -> None:
    with pytest.raises(ValueError) as caught:
        convolution(jnp.zeros(x), jnp.zeros(kernel), padding="SAME", **settings)
    assert "\n" not in str(caught.value)


# Over several devices. The compiled program may gather parameters and reduce gradients, but no activation may move.

BATCH = 16


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    if jax.device_count() < 8:
        pytest.skip("needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8")
    with pytest.MonkeyPatch.context() as patch:  # so that two images already make a loop over chunks
        patch.setattr(rules, "PATCH_BYTES", 1)
        patch.setattr(winograd, "CHUNK_BYTES", 1)
        yield jax.make_mesh((4, 2), ("batch", "shard"), axis_types=(AxisType.Auto,) * 2)


def network(parameters: dict, x: jax.Array) -> jax.Array:
    """One channel, Winograd, patches with XLA's input gradient, depthwise and pointwise."""
    h = jnp.tanh(convolution(x, parameters["stem"], padding=1))
    h = jnp.tanh(convolution(h, parameters["wide"], padding=1) / 16)
    h = jnp.tanh(convolution(h, parameters["down"], strides=2, dilation=2, padding=2) / 16)
    h = jnp.tanh(convolution(h, parameters["depth"], padding=1, groups=h.shape[-1]))
    return (convolution(h, parameters["point"], padding=0) ** 2).mean()


@functools.cache
def network_arrays() -> tuple[dict, jax.Array]:
    shapes = dict(
        stem=(3, 3, 1, 32), wide=(3, 3, 32, 32), down=(3, 3, 32, 16), depth=(3, 3, 1, 16), point=(1, 1, 16, 8)
    )
    (x, *kernels) = normal(9, (BATCH, 16, 16, 1), *shapes.values())
    return dict(zip(shapes, kernels, strict=True)), x


@functools.cache
def expected_network() -> tuple[jax.Array, dict]:
    with lowering("native"):
        return jax.jit(jax.value_and_grad(network))(*network_arrays())


@pytest.mark.parametrize(
    "kernels", [P(), P(None, None, None, "shard"), P(None, None, None, ("batch", "shard"))], ids=str
)
def test_sharded_batch_gathers_no_activation(mesh: Mesh, kernels: P) -> None:
    parameters, x = network_arrays()
    data, model = NamedSharding(mesh, P(("batch", "shard"))), NamedSharding(mesh, kernels)
    parameters, x = jax.device_put((parameters, x), (model, data))
    step = jax.jit(jax.value_and_grad(network), out_shardings=(NamedSharding(mesh, P()), model))
    compiled = step.lower(parameters, x).compile()
    moved = re.findall(r"= (.*?) (?:all-gather|all-to-all|collective-permute)(?:-start)?\(", compiled.as_text())
    shapes = [tuple(map(int, dims.split(","))) for text in moved for dims in re.findall(r"f32\[([\d,]+)\]", text)]
    assert bool(shapes) == (kernels != P())
    assert all(shape in {p.shape for p in jax.tree.leaves(parameters)} for shape in shapes)
    assert worst(compiled(parameters, x), expected_network()) < 1e-5


@pytest.mark.parametrize("kernels", [P(), P(None, None, None, "shard")], ids=str)
def test_the_program_is_the_same_in_every_process(mesh: Mesh, kernels: P) -> None:
    """Traced anew it is the same text, as the key of the compilation cache must be: no pointer stands in it."""
    parameters, x = network_arrays()
    data, model = NamedSharding(mesh, P(("batch", "shard"))), NamedSharding(mesh, kernels)
    parameters, x = jax.device_put((parameters, x), (model, data))
    texts = [jax.jit(jax.value_and_grad(lambda p, x: network(p, x))).lower(parameters, x).as_text() for _ in range(2)]
    assert "manual_computation" in texts[0] and texts[0] == texts[1]


def test_batch_that_does_not_divide(mesh: Mesh) -> None:
    """XLA may split an intermediate batch unevenly; the padding of the last shard must not enter the sums."""
    parameters, x = network_arrays()
    x = jax.device_put(x, NamedSharding(mesh, P(("batch", "shard"))))

    @jax.jit
    def step(parameters: dict, x: jax.Array) -> tuple:
        return jax.value_and_grad(network)(parameters, x[: BATCH - 3])

    with lowering("native"):
        expected = step(parameters, x)
    assert worst(step(parameters, x), expected) < 1e-5


@pytest.mark.parametrize("check_vma", [True, False])
def test_inside_shard_map(mesh: Mesh, check_vma: bool) -> None:
    parameters, x = network_arrays()
    axes = ("batch", "shard")

    def step(parameters: dict, x: jax.Array) -> tuple:
        if check_vma:  # gradients of replicated parameters arrive summed; see jax.shard_map
            return jax.value_and_grad(lambda p: lax.pmean(network(p, x), axes))(parameters)
        return jax.tree.map(lambda v: lax.pmean(v, axes), jax.value_and_grad(network)(parameters, x))

    mapped = jax.shard_map(step, mesh=mesh, in_specs=(P(), P(axes)), out_specs=P(), check_vma=check_vma)
    assert worst(jax.jit(mapped)(parameters, x), expected_network()) < 1e-5


def test_inside_shard_map_over_some_axes(mesh: Mesh) -> None:
    parameters, x = network_arrays()
    mapped = jax.shard_map(
        lambda p, x: jax.value_and_grad(lambda p: lax.pmean(network(p, x), "batch"))(p),
        mesh=mesh,
        in_specs=(P(), P("batch")),
        out_specs=P(),
        axis_names={"batch"},
    )
    assert worst(jax.jit(mapped)(parameters, x), expected_network()) < 1e-5


def test_inside_pmap(mesh: Mesh) -> None:
    parameters, x = network_arrays()
    step = jax.pmap(lambda p, x: lax.pmean(jax.value_and_grad(network)(p, x), "i"), axis_name="i", in_axes=(None, 0))
    loss, gradients = step(parameters, x.reshape(8, -1, *x.shape[1:]))
    assert worst(jax.tree.map(lambda v: v[0], (loss, gradients)), expected_network()) < 1e-5
