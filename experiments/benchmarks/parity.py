"""Compare every published model with the library that publishes it, number by number, on made-up weights.

Command: python experiments/benchmarks/parity.py [NAME ...]            all variants with a reference, or those named
         python experiments/benchmarks/parity.py --stored [NAME ...]   against tests/weights/parity/, without PyTorch
         python experiments/benchmarks/parity.py --write [NAME ...]    computes tests/weights/parity/ anew
Time: about half a minute a model on one CPU core
Needs: pip install 'cnn_jax[parity]' (PyTorch, torchvision and timm), except with --stored

The reference is computed in float64. Ours are logits and features in eval mode, in float32 with XLA's convolution, and
the gradient of every parameter in training mode, in float64 with this project's. A row shows the worst relative
difference of each kind; where it is above the tolerance, the layers are compared in order and the first that disagrees
is named. The last two columns say how far gradients in float32 are from the reference, ours and the library's own: they
are far together where numbers stand next to a kink or a BatchNorm sees few of them, which is why gradients are not
compared in float32.
"""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from flax.traverse_util import flatten_dict

from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.inspect.stages import feature_shapes
from cnn_jax.launch import script
from cnn_jax.lookup import did_you_mean
from cnn_jax.ops import convolution
from cnn_jax.weights import parity
from cnn_jax.weights.convert import COUNTER, first_few, tensor_shapes, to_variables
from cnn_jax.weights.parity import TOLERANCES, Case, Reference

WRITE = flags.DEFINE_bool("write", False, "compute the stored references of the tests anew, with PyTorch")
STORED = flags.DEFINE_bool("stored", False, "compare with the stored references, without PyTorch")
FOLDER = Path(__file__).parents[2] / "tests" / "weights" / "parity"
# Distances of the gradients in float32 from the reference: shown, but no tolerance applies to them.
ROUNDING = ("ours32", "theirs32")
# torchvision builds both Inception networks with auxiliary classifiers, which only training uses; ours have none.
WITHOUT_AUXILIARY = {"aux_logits": False, "init_weights": False}
OPTIONS = {"googlenet": WITHOUT_AUXILIARY, "inception_v3": WITHOUT_AUXILIARY}

Arrays = dict[str, np.ndarray]


class Comparison(NamedTuple):
    input_shape: tuple[int, ...]
    far: dict[str, float]  # the distance of each array; none where a reference was written
    rounding: dict[str, float]  # 'ours32 NAME' and 'theirs32 NAME', without a tolerance
    hint: Callable[[], str]  # where two models begin to differ; called only if they do


def main(names: list[str]) -> None:
    known = parity.cases()
    for name in names:
        if name not in known:
            raise ValueError(f"no variant '{name}' has a reference: {did_you_mean(name, known)}")
    failed = []
    columns = (*parity.TOLERANCES, *ROUNDING[: 2 * (not STORED.value)])
    print(f"{'variant':40} {'input':>12} " + "".join(f"{kind:>10}" for kind in columns) + "  seconds")
    for name in names or known:
        began = time.monotonic()
        found = _compare(known[name])
        jax.clear_caches()  # the programs of all models would not fit the memory
        worst = _worst(found.far | found.rounding)
        row = "".join(f"{worst[kind]:10.1e}" if kind in worst else "   written" for kind in columns)
        shape = "x".join(map(str, found.input_shape))
        print(f"{name:40} {shape:>12} {row} {time.monotonic() - began:8.0f}", flush=True)
        bad = parity.too_far(found.far)
        if bad:
            failed.append(name)
            arrays = first_few(f"{array} {far:.1e}" for array, far in bad.items())
            print(f"    disagree: {arrays}; {found.hint()}", flush=True)
    if failed:
        raise script.Failed(f"{len(failed)} disagree: {', '.join(failed)}")


def _compare(case: Case) -> Comparison:
    path = FOLDER / f"{case.name}.npz"
    if STORED.value:
        stored = parity.read(path)
        hint = "leave out --stored to compare layer by layer"
        ours = _ours(case, stored.tensors, stored.input_shape)
        return Comparison(stored.input_shape, parity.distances(parity.digests(ours), stored.digests), {}, lambda: hint)
    shape = parity.input_shape(case.variant)
    model = _published(case)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if not name.endswith(COUNTER)}
    gradients = _gradients(model, case, shape)
    expected = _forward(model, case, shape) | gradients
    if WRITE.value:
        path.parent.mkdir(parents=True, exist_ok=True)
        parity.write(path, Reference(shape, shapes, parity.digests(expected)))
        return Comparison(shape, {}, {}, str)
    far = _distances(_ours(case, shapes, shape), expected)
    ours32 = _distances(parity.gradients(case, shapes, shape, dtype="float32"), gradients)
    theirs32 = _distances(_gradients(model.float(), case, shape), gradients)
    rounding = {f"ours32 {name}": value for name, value in ours32.items()}
    rounding |= {f"theirs32 {name}": value for name, value in theirs32.items()}
    return Comparison(shape, far, rounding, lambda: _first_disagreement(model.double(), case, shape))


def _ours(case: Case, shapes: parity.Shapes, input_shape: tuple[int, ...]) -> Arrays:
    return parity.forward(case, shapes, input_shape) | parity.gradients(case, shapes, input_shape)


def _worst(distances: dict[str, float]) -> dict[str, float]:
    """The largest distance of each kind, the first word of the names."""
    found: dict[str, float] = {}
    for name, far in distances.items():
        kind = name.split()[0]
        if kind not in found or not far <= found[kind]:  # nan is the worst
            found[kind] = far
    return found


def _distances(ours: Arrays, expected: Arrays) -> dict[str, float]:
    """max |ours - expected| / max |expected|, with the scales of `parity.scales`."""
    if ours.keys() != expected.keys():
        raise ValueError(f"other arrays are compared: {first_few(ours.keys() ^ expected.keys())}")
    sizes = parity.scales({name: float(np.abs(array).max()) for name, array in expected.items()})
    return {name: float(np.abs(ours[name] - array).max()) / sizes[name] for name, array in expected.items()}


def _published(case: Case) -> Any:
    """The library's model in float64, with every rate of dropout and stochastic depth at 0."""
    _import("torch")
    if case.library == "torchvision":
        model = _import("torchvision").models.get_model(case.model, weights=None, **OPTIONS.get(case.model, {}))
    elif case.library == "panns":
        model = importlib.import_module("panns_torch").create(case.model)
    else:
        model = _import("timm").create_model(case.model, pretrained=False)
    for module in model.modules():
        kind = type(module).__name__
        for rate in ("p", "drop_prob") if "Drop" in kind or kind == "StochasticDepth" else ("drop_rate",):
            if hasattr(module, rate):  # drop_rate: timm's blocks that call F.dropout themselves keep the rate there
                setattr(module, rate, 0.0)
        if hasattr(module, "running_mean"):
            module.momentum = 0.0  # training mode must not change the statistics: eval mode is compared afterwards
    return model.double()


def _fill(model: Any, *, calm: bool) -> None:
    tensors = model.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name, array in parity.all_made_up(shapes, calm=calm).items():
        tensors[name].copy_(_import("torch").from_numpy(array))


def _forward(model: Any, case: Case, shape: tuple[int, ...]) -> Arrays:
    """What the published model computes in eval mode, named and laid out as `parity.forward` does."""
    images, _ = parity.batch(shape, case.variant.classes, calm=case.calm)
    shapes = {name: (len(images), *size) for name, size in feature_shapes(case.variant(), shape).items()}
    modules = {feature: case.scheme.names(feature) for feature in shapes}
    _fill(model.eval(), calm=case.calm)
    logits, seen = _watch(model, images, {name for name in modules.values() if name})
    found = {"logits": logits.numpy()}
    for feature, module in modules.items():
        if module:
            found[f"feature {feature}"] = _channels_last(seen[module][-1], shapes[feature])
    return found


def _gradients(model: Any, case: Case, shape: tuple[int, ...]) -> Arrays:
    """What the published model's are in training mode and its own precision, named as `parity.gradients` does."""
    images, labels = parity.batch(shape, case.variant.classes, calm=True)
    _fill(model.train(), calm=True)
    model.zero_grad()
    torch = _import("torch")
    torch.nn.functional.cross_entropy(model(_to_torch(images, model)), torch.from_numpy(labels).long()).backward()
    return {f"gradient {name}": value.grad.numpy() for name, value in model.named_parameters()}


def _to_torch(images: np.ndarray, model: Any) -> Any:
    return _import("torch").from_numpy(images).to(next(model.parameters()).dtype).movedim(-1, 1)


def _watch(model: Any, images: np.ndarray, names: set[str]) -> tuple[Any, dict[str, list[np.ndarray]]]:
    """(output, what each of the modules returned, in the order of execution)."""
    seen: dict[str, list[np.ndarray]] = {}
    modules = dict(model.named_modules())
    missing = names - modules.keys()
    if missing:
        raise ValueError(f"the published model has no modules {sorted(missing)}")

    def keep(name: str) -> Callable[..., None]:
        # a copy: the next module may work in place
        return lambda module, args, output: seen.setdefault(name, []).append(output.detach().clone().numpy())

    handles = [modules[name].register_forward_hook(keep(name)) for name in names]
    with _import("torch").no_grad():
        output = model(_to_torch(images, model))
    for handle in handles:
        handle.remove()
    return output, seen


def _channels_last(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return (array if array.shape == shape else np.moveaxis(array, 1, -1)).reshape(shape)


def _first_disagreement(model: Any, case: Case, shape: tuple[int, ...]) -> str:
    """The first convolution or linear layer, in the order of execution, whose output in eval mode is another."""
    names = case.scheme.names
    module = parity.without_dropout(case.variant)
    tensors = parity.all_made_up(tensor_shapes(module, shape, names), calm=case.calm)
    variables = to_variables(module, shape, tensors, names, case.scheme.flattened)
    images, _ = parity.batch(shape, case.variant.classes, calm=case.calm)
    paths = [
        path.split("/", 1)[1].removesuffix("/kernel") for path in variable_shapes(module, shape) if "kernel" in path
    ]

    def run(variables: Any) -> Any:
        return module.apply(variables, images, train=False, capture_intermediates=True, mutable=["intermediates"])[1]

    with convolution.lowering("native"):
        captured = jax.device_get(jax.jit(run, compiler_options=parity.QUICK)(variables))["intermediates"]
    ours = flatten_dict(captured, sep="/")
    _fill(model.eval(), calm=case.calm)
    _, seen = _watch(model, images, {names(path) for path in paths})
    agrees = "the input"
    places = {names(path): path for path in paths}
    for name, expected in seen.items():
        found = ours[f"{places[name]}/__call__"]
        for own, other in zip(found, expected, strict=True):
            far = np.abs(own - _channels_last(other, own.shape)).max() / np.abs(other).max()
            if not far <= TOLERANCES["feature"]:
                return f"{agrees} agrees, {name} ({places[name]}) is {far:.1e} apart"
            agrees = f"{name} ({places[name]})"
    return f"up to the last layer, {agrees}, all agree in eval mode"


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ImportError(f"{name} is not installed: pip install 'cnn_jax[parity]'") from None


if __name__ == "__main__":
    script.run(main, words=True)
