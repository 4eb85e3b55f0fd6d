"""What every published variant must hold; variants are found by walking the package, so no list is edited."""

import functools
import importlib
import inspect
import math
import pkgutil
import re
from typing import Any

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

import cnn_jax.models
from cnn_jax.inspect.anatomy import count_macs, count_params, variable_shapes
from cnn_jax.inspect.models import published
from cnn_jax.inspect.stages import CLASSIFIER, HEAD, depths, feature_info, feature_names, feature_shapes
from cnn_jax.models.bc_resnet import BCResNet
from cnn_jax.models.variant import Variant
from cnn_jax.ops import convolution
from cnn_jax.train.optim import decayed

MODULES = [
    importlib.import_module(f"cnn_jax.models.{info.name}") for info in pkgutil.iter_modules(cnn_jax.models.__path__)
]
VARIANTS = published()
CLASSIFIERS = [name for name, variant in VARIANTS.items() if variant.task in ("classify", "tag")]
# Compiling every depth of a family would test the same code again: the smallest of each file runs, all are traced.
SMALLEST = [
    min((name for name in CLASSIFIERS if name.startswith(f"{family}.")), key=lambda name: VARIANTS[name].params)
    for family in sorted({name.split(".")[0] for name in CLASSIFIERS})
]


def small_input(variant: Variant, batch: int = 4) -> jax.Array:
    """Unit noise of the variant's rank and channels, 16 positions long or more where the model needs more."""
    *spatial, channels = variant.input_shape
    size = next(size for size in (16, 32, 64, 96, 128) if takes(variant, (*(min(s, size) for s in spatial), channels)))
    shape = (batch, *(min(s, size) for s in spatial), channels)
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), "float32")


def takes(variant: Variant, shape: tuple[int, ...]) -> bool:
    try:
        return count_params(shallow(variant), shape) > 0
    except ValueError:
        return False


def shallow(variant: Variant) -> nn.Module:
    """The variant with one block per stage, where a field says how deep it is: compiling repeats proves nothing.

    Nor do hundreds of megabytes of dense layers.
    """
    module: Any = variant()
    if hasattr(module, "hidden"):
        module = module.clone(hidden=16)
    if isinstance(module, BCResNet):
        return module.clone(blocks=(1, 1))  # of four stages that are built alike, each of them long to compile
    if hasattr(module, "blocks"):
        return module.clone(blocks=(1,) * len(module.blocks))
    if hasattr(module, "stages"):
        return module.clone(stages=tuple(stage[:1] for stage in module.stages))
    return module.clone(depth=10) if hasattr(module, "depth") else module


def test_families_are_found() -> None:
    assert {"lenet.lenet5", "cifar_resnet.resnet20", "wide_resnet.wrn_28_10"} <= set(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_exact_params_and_macs(name: str) -> None:
    variant = VARIANTS[name]
    module = variant()
    assert count_params(module, variant.input_shape) == variant.params
    assert count_macs(module, variant.input_shape) == variant.macs
    assert variant.source
    # And which of them weight decay touches: every kernel, be it a row, and nothing else.
    shapes = variable_shapes(module, variant.input_shape)
    params = {tuple(p.split("/")[1:]): np.broadcast_to(0, s) for p, s in shapes.items() if p.startswith("params/")}
    found = flatten_dict(decayed(unflatten_dict(params)))
    assert {path for path, decays in found.items() if decays} == {path for path in params if path[-1] == "kernel"}
    assert all(params[path].ndim > 1 for path, decays in found.items() if decays)


# Many variants are one network when each stage has one block; larger ones of a family are built alike.
LARGE = 12_000_000  # parameters
SHALLOW = {repr(shallow(VARIANTS[name])): name for name in CLASSIFIERS if VARIANTS[name].params < LARGE}.values()


@pytest.mark.parametrize("name", sorted({*SHALLOW, *SMALLEST}))
def test_every_variable_has_a_depth_and_the_classifier_is_deepest(name: str) -> None:
    module, shape = shallow(VARIANTS[name]), VARIANTS[name].input_shape
    found = depths(module, shape)
    assert len({path for path in found if path.startswith("params/")}) == len(jax.tree.leaves(shapes_of(module, shape)))
    stages = list(dict.fromkeys(found.values()))
    assert stages == [stage for stage in [*feature_names(module, shape), HEAD, CLASSIFIER] if stage in stages]
    last = {path.split("/")[1] for path, stage in found.items() if stage == CLASSIFIER}
    assert last == {"classifier"}
    # of the first stage are the variables that read the image
    assert any(path.endswith("kernel") for path, stage in found.items() if stage == stages[0])


def shapes_of(module: nn.Module, shape: tuple[int, ...]) -> Any:
    x = jax.ShapeDtypeStruct((1, *shape), "float32")
    return jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), x)["params"]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_whatever_builds_a_classifier_is_a_variant(module: Any) -> None:
    def builds_classifier(value: Any) -> bool:
        if isinstance(value, functools.partial):
            value = value.func
        elif inspect.isfunction(value):
            value = inspect.signature(value).return_annotation
        else:
            return False
        return inspect.isclass(value) and issubclass(value, nn.Module) and "classes" in value.__annotations__

    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    assert [name for name, value in public.items() if builds_classifier(value)] == []


@pytest.mark.parametrize("name", SMALLEST)
def test_shapes_of_logits_and_features(name: str) -> None:
    variant = VARIANTS[name]
    module = variant(classes=7, dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((2, *variant.input_shape), "float32")
    with jax.enable_x64(True):  # where whatever names no type is float64
        (logits, features), variables = jax.eval_shape(
            functools.partial(module.init_with_output, train=False), jax.random.key(0), x
        )
    assert logits.shape == (2, 7) and logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert features["pooled"].ndim == 2

    maps = {key: value for key, value in features.items() if value.ndim > 2}
    assert {value.dtype for value in maps.values()} == {jnp.dtype("bfloat16")}
    info = feature_info(module, variant.input_shape)
    assert set(info) == set(maps)
    strides = [stride for _, stride in info.values()]
    assert strides == sorted(strides)
    # Of spectrograms the stride over frequencies is another one than over time.
    along = [
        info,
        *(feature_info_along(module, variant.input_shape, axis) for axis in range(1, len(variant.input_shape) - 1)),
    ]
    for key, (channels, _) in info.items():
        assert maps[key].shape[-1] == channels
        for length, size, found in zip(maps[key].shape[1:-1], variant.input_shape[:-1], along, strict=True):
            # unpadded convolutions lose a few positions, never more than their kernels are wide
            assert 0 <= math.ceil(size / found[key][1]) - length <= 4


def feature_info_along(module: nn.Module, shape: tuple[int, ...], axis: int) -> dict[str, tuple[int, int]]:
    """`feature_info` with the strides along another axis, which must grow by a multiple of BC-ResNet's 40 bins."""
    larger = (*shape[:axis], shape[axis] + 1920, *shape[axis + 1 :])
    small, large = (feature_shapes(module, each) for each in (shape, larger))
    return {name: (x[-1], round(1920 / (large[name][axis] - x[axis]))) for name, x in small.items() if len(x) > 1}


@pytest.mark.parametrize("name", SMALLEST)
def test_train_is_required(name: str) -> None:
    with pytest.raises(TypeError, match="train"):
        jax.eval_shape(VARIANTS[name]().init, jax.random.key(0), small_input(VARIANTS[name]))


@pytest.mark.parametrize("name", [name for name in SMALLEST if not VARIANTS[name].reference])
def test_learns_with_every_parameter(name: str, drawn: Any) -> None:
    """One training step: finite, every parameter with a gradient, statistics updated in training only.

    The gradients of networks with a reference are compared with it, number by number, in tests/weights.
    """
    module, x = shallow(VARIANTS[name]), small_input(VARIANTS[name])
    variables = drawn(module, x)
    labels = jnp.arange(len(x)) % VARIANTS[name].classes

    @jax.jit
    def run(variables: Any) -> tuple[Any, Any, Any, Any]:
        def loss(params: Any) -> tuple[jax.Array, tuple[jax.Array, Any]]:
            (logits, _), new = module.apply(
                {**variables, "params": params},
                x,
                train=True,
                rngs={"dropout": jax.random.key(1)},
                mutable=["batch_stats"],
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), (logits, new)

        grads, (logits, new) = jax.grad(loss, has_aux=True)(variables["params"])
        (eval_logits, _), kept = module.apply(variables, x, train=False, mutable=["batch_stats"])
        return grads, (logits, eval_logits), new, kept

    with convolution.lowering("native"):  # which compiles quickest; what the others compute is tested in tests/ops
        grads, logits, new, kept = run(variables)
    assert all(np.isfinite(value).all() for value in logits)
    without = [jax.tree_util.keystr(path) for path, g in jax.tree.leaves_with_path(grads) if not np.abs(g).max() > 0]
    assert without == []
    if "batch_stats" in variables:
        before = jax.tree.leaves(variables["batch_stats"])
        assert all((a != b).any() for a, b in zip(before, jax.tree.leaves(new["batch_stats"]), strict=True))
        assert all((a == b).all() for a, b in zip(before, jax.tree.leaves(kept["batch_stats"]), strict=True))


@pytest.mark.parametrize("name", SMALLEST)
def test_any_number_of_input_channels(name: str) -> None:
    variant = VARIANTS[name]
    *spatial, channels = variant.input_shape
    own, one_more, two_more = (count_params(shallow(variant), (*spatial, channels + extra)) for extra in range(3))
    assert 0 < 2 * (one_more - own) == two_more - own


@pytest.mark.parametrize("name", SMALLEST)
def test_a_backbone_has_what_its_maps_need_and_no_more(name: str) -> None:
    """The rule of models/heads.py, in names and shapes: of variables, and of features."""
    module: Any = shallow(VARIANTS[name])
    backbone, shape = module.clone(classes=None), VARIANTS[name].input_shape
    (_, whole), variables = outputs_of(module, shape)
    features, kept = outputs_of(backbone, shape)
    assert isinstance(features, dict)
    assert features == {key: value for key, value in whole.items() if key in features}
    assert set(whole) - set(features) <= {"pooled", "head"}
    assert kept.items() <= variables.items()

    found = depths(module, shape)  # variable -> the first feature that needs it
    dropped = {found[path] for path in variables.keys() - kept.keys()}
    assert CLASSIFIER in dropped and dropped - {CLASSIFIER, HEAD} == set(whole) - set(features) - (
        {"pooled"} if "head" in whole else set()  # its mean
    )
    assert not any(found[path] in (CLASSIFIER, HEAD) for path in kept)


def outputs_of(module: nn.Module, shape: tuple[int, ...]) -> tuple[Any, dict[str, Any]]:
    """Shapes of what a module returns, and of its variables by path."""
    init = functools.partial(module.init_with_output, train=False)
    output, variables = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), "float32"))
    return output, flatten_dict(variables, sep="/")


@pytest.mark.parametrize("name", SMALLEST)
def test_a_backbone_computes_the_maps_of_the_whole_model(name: str) -> None:
    """Its program is the beginning of the whole model's, on the same variables: equal without running either."""
    module: Any = shallow(VARIANTS[name])
    x = jax.ShapeDtypeStruct((1, *VARIANTS[name].input_shape), "float32")
    variables = jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), x)
    operations, (_, whole) = program(module, variables, x)
    beginning, features = program(module.clone(classes=None), variables, x)
    assert 0 < len(beginning) < len(operations)
    assert beginning == operations[: len(beginning)]
    assert features == {key: whole[key] for key in features}


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", [name for name in SMALLEST if hasattr(VARIANTS[name](), "output_stride")])
def test_output_stride_makes_maps_larger_and_changes_nothing_else(name: str, output_stride: int) -> None:
    module: Any = shallow(VARIANTS[name])
    dense, shape = module.clone(output_stride=output_stride), VARIANTS[name].input_shape
    info = feature_info(module, shape)
    wanted = {key: (channels, min(stride, output_stride)) for key, (channels, stride) in info.items()}
    assert feature_info(dense, shape) == wanted
    assert outputs_of(dense, shape)[1] == outputs_of(module, shape)[1]


def program(module: nn.Module, variables: Any, x: Any) -> tuple[list[Any], Any]:
    """The operations of a forward pass, whose values are numbered, and the numbers of what it returns."""
    closed, shapes = jax.make_jaxpr(functools.partial(module.apply, train=False), return_shape=True)(variables, x)
    made = [*closed.jaxpr.invars, *(var for eqn in closed.jaxpr.eqns for var in eqn.outvars)]
    names: dict[Any, Any] = {var: number for number, var in enumerate(made)}
    names |= {var: np.asarray(x).tobytes() for var, x in zip(closed.jaxpr.constvars, closed.consts, strict=True)}
    operations = [
        # functions among the settings print with their address
        (str(eqn.primitive), re.sub(r"0x\w+", "", str(eqn.params)), [named(var, names) for var in eqn.invars])
        for eqn in closed.jaxpr.eqns
    ]
    return operations, jax.tree.unflatten(jax.tree.structure(shapes), [names[var] for var in closed.jaxpr.outvars])


def named(var: Any, names: dict[Any, Any]) -> Any:
    return names[var] if isinstance(var, jax.extend.core.Var) else str(var)  # a literal
