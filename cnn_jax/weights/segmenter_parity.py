"""Whether a segmenter gives each pixel the logits that the published one does, on made-up weights.

As in `weights.parity` both sides make the same weights from the names and shapes of the tensors. What torchvision
computes is kept as digests (`experiments/benchmarks/segmentation_parity.py`, with PyTorch).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.models.deeplabv3 import deeplabv3_resnet50
from cnn_jax.models.fcn import fcn_resnet50
from cnn_jax.models.lraspp import lraspp_mobilenet_v3_large
from cnn_jax.models.resnet import Bottleneck, ResNet
from cnn_jax.models.segmenter import LOGITS, loss_weights
from cnn_jax.models.variant import Variant
from cnn_jax.ops import convolution
from cnn_jax.weights import parity
from cnn_jax.weights.convert import to_tensors, to_variables
from cnn_jax.weights.published import QUICK
from cnn_jax.weights.schemes import Scheme, schemes

SIZE = (43, 301)  # of the images of the tests: no multiples of a stride, and wide enough for a dilation of 36
BATCH = 2


class Case(NamedTuple):
    """A segmenter as torchvision has it. shallow: whether its ResNet has but one block in each stage."""

    variant: Variant
    shallow: bool = False

    @property
    def model(self) -> str:
        """Its name in torchvision, which begins with that of the family."""
        return self.variant.reference.partition(":")[2]

    @property
    def module(self) -> Any:
        """Ours, without dropout, which two libraries never draw alike."""
        shallow = {"backbone": partial(ResNet, blocks=(1, 1, 1, 1), block=Bottleneck)} if self.shallow else {}
        module: Any = self.variant(**shallow)
        heads = [name for name in ("head", "aux_head") if hasattr(module, name)]
        return module.clone(**{name: partial(getattr(module, name), dropout=0.0) for name in heads})

    @property
    def scheme(self) -> Scheme:
        return schemes(self.model.partition("_")[0], self.module)["torchvision"]


CASES = {
    "fcn": Case(fcn_resnet50, shallow=True),
    "deeplabv3": Case(deeplabv3_resnet50, shallow=True),
    "lraspp": Case(lraspp_mobilenet_v3_large),
}


def images(size: tuple[int, int], *, calm: bool = False) -> np.ndarray:
    """Noise [B, H, W, 3] float32, the same for ever; `calm` as in `parity.made_up`."""
    noise = np.random.RandomState(0).standard_normal((BATCH, *size, 3))
    return (noise * (parity.CALM_CONTRAST if calm else 1.0)).astype(np.float32)


def truth(size: tuple[int, int], classes: int) -> np.ndarray:
    """A class for each pixel, int32 [B, H, W]."""
    return (np.arange(BATCH * size[0] * size[1], dtype=np.int32) * 7 % classes).reshape(BATCH, *size)


def forward(case: Case, shapes: parity.Shapes, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """'logits' and 'feature aux' [B, H, W, classes] in evaluation, with made-up tensors of `shapes`.

    Raises ValueError where these are not the tensors of the model.
    """
    module, variables = _prepared(case, shapes, calm=False)

    def run(variables: Any, x: jax.Array) -> dict[str, jax.Array]:
        logits, features = module.apply(variables, x, train=False)
        heads = [name for name in loss_weights(module) if name != LOGITS]
        return {LOGITS: logits} | {f"feature {name}": features[name] for name in heads}

    with convolution.lowering("native"):
        return jax.device_get(jax.jit(run, compiler_options=QUICK)(variables, images(size)))


def gradients(case: Case, shapes: parity.Shapes, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """'gradient TENSOR' of the mean cross-entropies in training, weighted, in float64 and in the tensors' layout."""
    module, variables = _prepared(case, shapes, calm=True)
    wide = module.clone(dtype="float64")

    def loss(params: Any, rest: Any, x: jax.Array, truth: jax.Array) -> jax.Array:
        (logits, features), _ = wide.apply({"params": params, **rest}, x, train=True, mutable=list(rest))
        outputs = {**features, LOGITS: logits}
        costs = [
            weight * optax.softmax_cross_entropy_with_integer_labels(outputs[name], truth).mean()
            for name, weight in loss_weights(module).items()
        ]
        return jnp.sum(jnp.stack(costs))

    with convolution.lowering("auto"), jax.enable_x64(True):
        variables, x = jax.tree.map(lambda array: array.astype("float64"), (variables, images(size, calm=True)))
        params = variables.pop("params")
        compute = jax.jit(jax.grad(loss), compiler_options=QUICK)
        found = jax.device_get(compute(params, variables, x, truth(size, module.classes)))
    tensors = to_tensors({"params": found}, case.scheme.names)
    return {f"gradient {name}": value for name, value in tensors.items()}


def _prepared(case: Case, shapes: parity.Shapes, *, calm: bool) -> tuple[Any, dict[str, Any]]:
    tensors = parity.all_made_up(shapes, calm=calm)
    return case.module, to_variables(case.module, (*SIZE, 3), tensors, case.scheme.names)
