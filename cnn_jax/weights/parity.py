"""Whether a model computes what the published one does: made-up weights, and small digests of what comes of them.

Both sides make the same weights from the names and shapes of the tensors, so nothing large is stored. What the
reference computes (`experiments/benchmarks/parity.py`, with PyTorch) is kept as digests, against which tests compare
ours.
"""

import dataclasses
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax

from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.inspect.models import published
from cnn_jax.models.variant import Variant
from cnn_jax.ops import convolution
from cnn_jax.weights.convert import COUNTER, first_few, to_tensors, to_variables
from cnn_jax.weights.published import QUICK
from cnn_jax.weights.schemes import Scheme, schemes

BATCH = 4
SIZES = ((96, 64), (128, 96), (160, 128))  # tried in this order, then the variant's own: a test should be quick
GAIN = 1.5  # variance out over variance in of a kernel; 2 would keep it through relu, but branches add up
CALM_CONTRAST = 0.3  # standard deviation of the images, and of what they become, with calm tensors
SUMS = 3  # numbers in a digest, besides the norm
# Gradients are computed in float64, where all agree to the rounding of what is stored; in float32 they may not, since
# a BatchNorm over few numbers, or a number next to a kink of an activation, makes percents of a rounding.
TOLERANCES, FLOOR = {"logits": 1e-4, "feature": 1e-4, "gradient": 1e-6}, 1e-3
# XLA's convolution compiles quickest, but in float64 it is slow, and a depthwise one's gradient takes gigabytes.
LOWERING = {"float32": "native", "float64": "auto"}
# With ordinary tensors these are chaotic: the larger makes .8 of the logits of a 1e-15 of the input, in float64.
CHAOTIC = ("efficientnet_v2.efficientnet_v2_m", "efficientnet_v2.efficientnet_v2_l")

Shapes = Mapping[str, tuple[int, ...]]


class Case(NamedTuple):
    """A variant that a library publishes, and how its parts are called there."""

    name: str  # resnet.resnet18
    variant: Variant
    library: str  # torchvision
    model: str  # resnet18

    @property
    def scheme(self) -> Scheme:
        """Raises ValueError where the family's file of namings has none for the library."""
        family = self.name.split(".")[0]
        known = schemes(family, self.variant())
        if self.library not in known:
            raise ValueError(f"{self.name}: cnn_jax/weights/names/{family}.py has no function {self.library}")
        return known[self.library]

    @property
    def calm(self) -> bool:
        """Whether the forward pass, too, is compared with calm tensors."""
        return self.name in CHAOTIC


class Reference(NamedTuple):
    """What the published model computes: digests by name, for tensors of these shapes and this input."""

    input_shape: tuple[int, ...]
    tensors: dict[str, tuple[int, ...]]
    digests: dict[str, np.ndarray]


def cases(task: str = "classify") -> dict[str, Case]:
    """All variants for a task that have a `reference`, by name; detectors are compared in `detector_parity`.

    Taggers are among the classifiers: what they compute is the same.
    """
    tasks = ("classify", "tag") if task == "classify" else (task,)
    return {
        name: Case(name, variant, *variant.reference.split(":"))
        for name, variant in published().items()
        if variant.reference and variant.task in tasks
    }


def without_dropout(variant: Variant) -> nn.Module:
    """The module with every rate of dropout and stochastic depth at 0: two libraries never draw the same."""
    module: Any = variant.build.func
    rates = [f.name for f in dataclasses.fields(module) if f.name in ("dropout", "head_dropout", "drop_path")]
    return variant(**dict.fromkeys(rates, 0.0))


def input_shape(variant: Variant) -> tuple[int, ...]:
    """A small shape of other height than width, for which the variant has the parameters that it is published with."""
    module, channels = variant(), variant.input_shape[-1]
    published = variable_shapes(module, variant.input_shape)
    for size in SIZES:
        try:
            if variable_shapes(module, (*size, channels)) == published:
                return (*size, channels)
        except (ValueError, TypeError, ZeroDivisionError):  # too small for this network
            continue
    return variant.input_shape


def batch(shape: tuple[int, ...], classes: int, *, calm: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images [B, H, W, C] of noise and labels [B], the same for ever; `calm` as in `made_up`."""
    images = np.random.RandomState(0).standard_normal((BATCH, *shape)) * (CALM_CONTRAST if calm else 1.0)
    return images.astype(np.float32), np.arange(BATCH, dtype=np.int32) * 7 % classes


def made_up(name: str, shape: tuple[int, ...], *, calm: bool) -> np.ndarray:
    """A float32 tensor drawn from its name.

    A network of ordinary ones passes signals on at about their size. `calm` ones, for gradients, also keep what goes
    into activations between 0 and 3, where relu, relu6 and hard swish have no kinks: which side of a kink the few
    numbers next to it fall on is a matter of rounding, and each may change a gradient by percents.
    """
    uniform = np.random.RandomState(zlib.crc32(name.encode())).random_sample(shape)  # the same for ever
    if name.endswith("running_var"):
        values = 0.5 + 1.5 * uniform
    elif name.endswith("running_mean"):
        values = 0.4 * uniform - 0.2
    elif name.endswith("bias"):
        values = 0.2 * uniform + 1.4 if calm else 0.4 * uniform - 0.2
    elif np.size(uniform) == max(shape, default=1):  # the scale of a norm or of a branch
        values = 0.2 + 0.15 * uniform if calm else 0.5 + uniform
    else:
        values = (2 * uniform - 1) * np.sqrt(3 * (1.0 if calm else GAIN) / np.prod(shape[1:]))
        if calm:  # what goes in is positive: little of its mean may come out, lest the variance drown in it
            values -= 0.9 * values.mean(tuple(range(1, len(shape))), keepdims=True)
    return np.asarray(values, np.float32)


def all_made_up(shapes: Shapes, *, calm: bool) -> dict[str, np.ndarray]:
    """Tensors of these names and shapes, without the counters of BatchNorm."""
    return {name: made_up(name, shape, calm=calm) for name, shape in shapes.items() if not name.endswith(COUNTER)}


def forward(case: Case, shapes: Shapes, input_shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """'logits' and 'feature NAME' [B, ...] of our model in eval mode and float32, with made-up tensors of `shapes`.

    Raises ValueError where these are not the tensors of the model.
    """
    names = case.scheme.names
    module, variables = _prepared(case, shapes, input_shape, calm=case.calm)
    images, _ = batch(input_shape, case.variant.classes, calm=case.calm)

    def run(variables: Any, images: np.ndarray) -> Any:
        return module.apply(variables, images, train=False)

    with convolution.lowering(LOWERING["float32"]):
        logits, features = jax.device_get(jax.jit(run, compiler_options=QUICK)(variables, images))
    return {"logits": logits} | {f"feature {name}": value for name, value in features.items() if names(name)}


def gradients(
    case: Case, shapes: Shapes, input_shape: tuple[int, ...], *, dtype: str = "float64"
) -> dict[str, np.ndarray]:
    """'gradient TENSOR' of the mean cross-entropy in training mode, in the layout of the tensors, which are calm.

    Raises ValueError where `shapes` are not those of the model's tensors.
    """
    module, variables = _prepared(case, shapes, input_shape, calm=True)
    images, labels = batch(input_shape, case.variant.classes, calm=True)

    def loss(params: Any, rest: Any, images: jax.Array) -> jax.Array:
        wide = module.clone(dtype=dtype)
        (logits, _), _ = wide.apply({"params": params, **rest}, images, train=True, mutable=list(rest))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    with convolution.lowering(LOWERING[dtype]), jax.enable_x64(dtype == "float64"):
        variables, images = jax.tree.map(lambda array: array.astype(dtype), (variables, images))
        params = variables.pop("params")
        found = jax.device_get(jax.jit(jax.grad(loss), compiler_options=QUICK)(params, variables, images))
    tensors = to_tensors({"params": found}, case.scheme.names, case.scheme.flattened)
    return {f"gradient {name}": value for name, value in tensors.items()}


def _prepared(
    case: Case, shapes: Shapes, input_shape: tuple[int, ...], *, calm: bool
) -> tuple[nn.Module, dict[str, Any]]:
    module, tensors = without_dropout(case.variant), all_made_up(shapes, calm=calm)
    return module, to_variables(module, input_shape, tensors, case.scheme.names, case.scheme.flattened)


def digests(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """[1 + SUMS] per array: its norm, and the sums of its every SUMS-th number with signs drawn from its name.

    The sums of two arrays differ by about as much, as a vector, as the arrays do, so that few numbers tell them apart.
    """
    found = {}
    for name, array in arrays.items():
        flat = np.asarray(array, np.float64).ravel()
        signs = np.random.RandomState(zlib.crc32(name.encode())).randint(0, 2, 10007) * 2.0 - 1
        flat = np.pad(flat * np.resize(signs, flat.size), (0, -flat.size % SUMS))
        found[name] = np.array([np.linalg.norm(flat), *flat.reshape(-1, SUMS).sum(0)])
    return found


def distances(ours: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Relative distance of each pair of digests, in the norm; `scales` says relative to what.

    Raises ValueError where the names differ.
    """
    if ours.keys() != reference.keys():
        raise ValueError(f"other arrays are compared: {first_few(ours.keys() ^ reference.keys())}")
    sizes = scales({name: values[0] for name, values in reference.items()})

    def distance(name: str) -> float:
        apart = ours[name] - reference[name]
        return float(max(np.abs(apart[0]), np.linalg.norm(apart[1:])) / sizes[name])

    return {name: distance(name) for name in reference}


def too_far(distances: Mapping[str, float]) -> dict[str, float]:
    """Those above the tolerance of their kind, the first word of their names; nan is."""
    return {name: far for name, far in distances.items() if not far <= TOLERANCES[name.split()[0]]}


def scales(sizes: Mapping[str, float]) -> dict[str, float]:
    """What the difference of each array is divided by, from the sizes of the reference's arrays: its own.

    A BatchNorm takes away nearly all that a bias before it does, or all of it: what is left of such a gradient is the
    difference of large numbers. So a gradient counts as at least FLOOR times the largest one.
    """
    largest = max((size for name, size in sizes.items() if name.startswith("gradient")), default=0.0)
    return {name: max(size, FLOOR * largest * name.startswith("gradient")) for name, size in sizes.items()}


def write(path: Path, reference: Reference) -> None:
    """Stores a reference in a few kilobytes."""
    shapes = [f"{name} {' '.join(map(str, shape))}" for name, shape in reference.tensors.items()]
    np.savez_compressed(
        path,
        input_shape=np.array(reference.input_shape),
        tensors=np.array("\n".join(shapes)),
        names=np.array("\n".join(reference.digests)),
        digests=np.stack(list(reference.digests.values())).astype(np.float32),
    )


def read(path: Path) -> Reference:
    """A stored reference."""
    with np.load(path) as file:
        lines = [line.split() for line in str(file["tensors"]).split("\n")]
        return Reference(
            tuple(file["input_shape"].tolist()),
            {name: tuple(map(int, shape)) for name, *shape in lines},
            dict(zip(str(file["names"]).split("\n"), file["digests"].astype(np.float64), strict=True)),
        )
