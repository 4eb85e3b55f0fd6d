"""Whether a detector finds what the published one finds, picture in and boxes out, on made-up weights.

Both sides make the same weights from the names and shapes of the tensors, as in `weights.parity`; the last layers are
scaled so that scores spread and objects are found. What torchvision makes of a picture is kept in a few kilobytes
(`experiments/benchmarks/detection_parity.py`, with PyTorch): digests of the raw outputs, detections, and losses.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.batch import normalised
from cnn_jax.data.placement import Placement, to_example, to_original
from cnn_jax.data.prepare import ImagePrepare, fit
from cnn_jax.models.detector import Objects
from cnn_jax.models.fcos import fcos_resnet50_fpn
from cnn_jax.models.norms import FrozenBatchNorm
from cnn_jax.models.resnet import Bottleneck, ResNet
from cnn_jax.models.retinanet import retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from cnn_jax.models.ssd import ssd300_vgg16, ssdlite320_mobilenet_v3_large
from cnn_jax.ops import convolution
from cnn_jax.weights import parity
from cnn_jax.weights.convert import first_few, to_variables
from cnn_jax.weights.published import QUICK
from cnn_jax.weights.schemes import schemes

CLASSES = 90
# Objects of the first of two pictures, the second has none: left, top, right, bottom in shares of the picture, and
# class. Two lie nearly alike, so that both want the same anchors; the smaller by less than 8 pixels is the second.
TRUTHS = np.array(
    [(0.1, 0.1, 0.5, 0.6, 2), (0.1, 0.1, 0.5, 0.599, 16), (0.3, 0.2, 0.9, 0.95, 89), (0.62, 0.1, 0.7, 0.2, 4)]
)
SCORE, PIXELS = 1e-4, 0.05  # how far the score and a side of the same detection may be apart
TOLERANCE = 1e-4  # of digests and losses, relative


class Case(NamedTuple):
    """A detector as torchvision has it, and a picture [H, W] for it.

    shallow: fields that make it small, for tests. size: of the short side and the long one at most in place of the
    published ones, or None. frozen: whether its norms are. sigmoid: whether its classes do not exclude one another.
    """

    variant: Any
    picture: tuple[int, int]
    shallow: Mapping[str, Any] = {}
    size: tuple[int, int] | None = None
    frozen: float | None = None
    sigmoid: bool = True

    @property
    def model(self) -> str:
        """Its name in torchvision."""
        return self.variant.reference.partition(":")[2]

    @property
    def prepare(self) -> ImagePrepare:
        images = self.variant.preprocessing
        return ImagePrepare(
            size=self.size or images.size,
            resize=images.resize,
            interpolation=images.interpolation,
            mean=images.mean,
            std=images.std,
        )


_shallow = {"backbone": partial(ResNet, blocks=(1, 1, 1, 1), block=Bottleneck)}
_fpn = partial(Case, picture=(70, 101), shallow=_shallow, size=(96, 160))
CASES = {
    "retinanet": _fpn(retinanet_resnet50_fpn, frozen=0.0),
    "retinanet_v2": _fpn(retinanet_resnet50_fpn_v2),
    "fcos": _fpn(fcos_resnet50_fpn, frozen=1e-5),
    "ssd300": Case(ssd300_vgg16, (90, 131), sigmoid=False),
    "ssdlite320": Case(ssdlite320_mobilenet_v3_large, (90, 131), sigmoid=False),
}


class Results(NamedTuple):
    """digests: of raw outputs by name. found: [K, 6] left, top, right, bottom in the picture, score, label from 0.

    losses: by name.
    """

    digests: dict[str, np.ndarray]
    found: np.ndarray
    losses: dict[str, float]


class Reference(NamedTuple):
    """What torchvision computes with tensors of these shapes, of which some are multiplied by a factor."""

    tensors: dict[str, tuple[int, ...]]
    factors: dict[str, float]
    results: Results


def picture(case: Case) -> np.ndarray:
    """Coloured squares with noise, uint8 [H, W, 3], the same for ever."""
    height, width = case.picture
    draw = np.random.RandomState(1)
    squares = draw.randint(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    squares = np.kron(squares, np.ones((8, 8, 1), int))[:height, :width]
    return (0.7 * squares + 0.3 * draw.randint(0, 256, (height, width, 3))).astype(np.uint8)


def truths(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [G, 4] in pixels of the picture, and their classes [G] from 0."""
    height, width = case.picture
    return (TRUTHS[:, :4] * [width, height, width, height]).astype(np.float32), TRUTHS[:, 4].astype(np.int32)


def made_up(case: Case, shapes: parity.Shapes, factors: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The tensors. What a frozen norm divides by is small, so that its epsilon matters; background is frequent."""
    tensors = parity.all_made_up(shapes, calm=False)
    for name in tensors:
        module, _, leaf = name.rpartition(".")
        if case.frozen is not None and f"{module}.running_var" in tensors:
            tensors[name] = tensors[name] * np.float32({"running_var": 1e-4, "weight": 1e-2}.get(leaf, 1))
        if leaf == "bias" and f"{module}.weight" in factors and "classification" in name:
            bias = 3 * tensors[name].reshape(-1, 1 + CLASSES)
            bias[:, 0] += -50 if case.sigmoid else 4
            tensors[name] = (bias - 5 * case.sigmoid).ravel()
        tensors[name] = tensors[name] * np.float32(factors.get(name, 1))
    return tensors


def ours(case: Case, shapes: parity.Shapes, factors: Mapping[str, float], **changed: Any) -> tuple[Any, Any]:
    """Our detector and its variables; `changed` are further fields of it."""
    fields = {**case.shallow, **changed}
    if case.frozen is not None:
        fields = {"norm": partial(FrozenBatchNorm, epsilon=case.frozen), **fields}
    module: Any = case.variant(classes=CLASSES, **fields)
    family = case.variant.build.func.__module__.rpartition(".")[2]
    names = schemes(family, module)["torchvision"].names
    example, _ = fit(picture(case), case.prepare)
    return module, to_variables(module, example.shape, made_up(case, shapes, factors), names)


def detecting(case: Case, shapes: parity.Shapes, factors: Mapping[str, float]) -> Callable[[], np.ndarray]:
    """A call that finds the objects of the picture, from its pixels on, as `Results.found` has them."""
    module, variables = ours(case, shapes, factors)

    @jax.jit
    def compute(variables: Any, image: jax.Array, content: jax.Array) -> Any:
        raw = module.apply(variables, normalised(image[None], case.prepare), train=False, content=content)
        return module.detections(raw, content)

    variables, pixels = jax.device_put(variables), picture(case)

    def detect() -> np.ndarray:
        example, placement = fit(pixels, case.prepare)
        found = jax.device_get(compute(variables, example, np.array([[0, 0, *_end(placement)]], np.float32)))
        real = found.labels[0] >= 0
        boxes = to_original(found.boxes[0, real], placement)
        return np.column_stack([boxes, found.scores[0, real], found.labels[0, real]]).astype(np.float32)

    return detect


def run(case: Case, shapes: parity.Shapes, factors: Mapping[str, float], **changed: Any) -> Results:
    """What ours makes of the picture; `changed` are further fields of the model."""
    module, variables = ours(case, shapes, factors, **changed)
    example, placement = fit(picture(case), case.prepare)

    def compute(variables: Any, image: jax.Array) -> Any:
        raw = module.apply(variables, normalised(image[None], case.prepare), train=False)
        content = jnp.asarray([[0, 0, *_end(placement)]])
        both = jax.tree.map(lambda x: jnp.concatenate([x, x]) if x.ndim == 3 else x, raw)
        return raw, module.detections(raw, content), module.losses(both, _objects(case, placement))

    with convolution.lowering("native"):
        raw, found, losses = jax.device_get(jax.jit(compute, compiler_options=QUICK)(variables, example))
    real = found.labels[0] >= 0
    boxes = to_original(found.boxes[0, real], placement)
    return Results(
        parity.digests({name: _joined(value) for name, value in raw._asdict().items() if name not in CONSTANTS}),
        np.column_stack([boxes, found.scores[0, real], found.labels[0, real]]).astype(np.float32),
        {name: float(total / max(count, 1)) for name, (total, count) in losses.items()},
    )


CONSTANTS = ("anchors", "points")


def _joined(value: Any) -> np.ndarray:
    return np.concatenate(value, 1) if isinstance(value, list) else value


def _end(placement: Placement) -> np.ndarray:
    return np.array([placement.scale[1] * placement.original[1], placement.scale[0] * placement.original[0]], "float32")


def _objects(case: Case, placement: Placement) -> Objects:
    boxes, labels = truths(case)
    count, none = len(boxes), np.zeros((2, len(boxes)), bool)
    padded = np.zeros((2, count, 4), np.float32)
    padded[0] = to_example(boxes, placement)
    present = none.copy()
    present[0] = True
    return Objects(padded, np.stack([labels, 0 * labels - 1]), present, none, np.ones(2, np.float32))  # type: ignore[arg-type]


def differences(ours: Results, reference: Results) -> list[str]:
    """Whatever is too far apart, in words; none where both agree. Losses may be missing in the reference."""
    said = []
    for name, far in parity.distances(ours.digests, reference.digests).items():
        if not far <= TOLERANCE:
            said.append(f"{name} {far:.1e}")
    if reference.losses and ours.losses.keys() != reference.losses.keys():
        raise ValueError(f"other losses are compared: {first_few(ours.losses.keys() ^ reference.losses.keys())}")
    for name, loss in reference.losses.items():
        if not abs(ours.losses[name] - loss) <= TOLERANCE * abs(loss):
            said.append(f"loss {name} {ours.losses[name]:.6g}, not {loss:.6g}")
    if len(ours.found) != len(reference.found):
        return [*said, f"{len(ours.found)} detections, not {len(reference.found)}"]
    missed = _unmatched(ours.found, reference.found)
    return [*said, f"{missed} of {len(reference.found)} detections are others"] if missed else said


def _unmatched(ours: np.ndarray, reference: np.ndarray) -> int:
    """How many detections of the reference ours has not, each of ours being one of them."""
    left = ours.copy()
    missed = 0
    for row in reference:
        near = (np.abs(left[:, :4] - row[:4]).max(1) < PIXELS) & (np.abs(left[:, 4] - row[4]) < SCORE)
        near &= left[:, 5] == row[5]
        if near.any():
            left = np.delete(left, np.argmax(near), 0)
        else:
            missed += 1
    return missed


def write(path: Path, reference: Reference) -> None:
    """Stores a reference in a few kilobytes."""
    digests, found, losses = reference.results
    np.savez_compressed(
        path,
        tensors=np.array("\n".join(f"{n} {' '.join(map(str, s))}" for n, s in reference.tensors.items())),
        factors=np.array("\n".join(f"{name} {value!r}" for name, value in reference.factors.items())),
        losses=np.array("\n".join(f"{name} {value!r}" for name, value in losses.items())),
        found=found.astype(np.float32),
        digests=np.stack(list(digests.values())).astype(np.float32),
        names=np.array("\n".join(digests)),
    )


def read(path: Path) -> Reference:
    """A stored reference."""

    def pairs(text: Any) -> dict[str, float]:
        return {name: float(value) for name, value in (line.split() for line in str(text).split("\n"))}

    with np.load(path) as file:
        shapes = [line.split() for line in str(file["tensors"]).split("\n")]
        digests = dict(zip(str(file["names"]).split("\n"), file["digests"].astype(np.float64), strict=True))
        return Reference(
            {name: tuple(map(int, shape)) for name, *shape in shapes},
            pairs(file["factors"]),
            Results(digests, file["found"], pairs(file["losses"])),
        )
