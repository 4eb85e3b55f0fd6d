"""Compare Faster R-CNN and Mask R-CNN with torchvision, picture in and boxes out, on made-up weights.

Command: python experiments/benchmarks/two_stage_parity.py [NAME ...]
Time: about a minute a detector and picture on one CPU core
Needs: pip install 'cnn_jax[parity]' (PyTorch and torchvision)

Pictures of 480x640 (brought to 800x1066), of a square, and of odd sizes and proportions. The last layers are scaled so
that scores spread. Losses are those of samples that both are made to take: the first ones. A row shows how many objects
were found, how far boxes (in pixels), scores, masks (pasted on the picture) and losses (relative) are apart at most,
and what is too far.
"""

import importlib
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.batch import normalised
from cnn_jax.data.placement import Placement, to_example, to_original
from cnn_jax.data.prepare import fit
from cnn_jax.launch import script
from cnn_jax.lookup import did_you_mean
from cnn_jax.models import faster_rcnn
from cnn_jax.models.detector import Objects
from cnn_jax.models.norms import FrozenBatchNorm
from cnn_jax.ops import convolution
from cnn_jax.ops.masks import pasted
from cnn_jax.weights.convert import COUNTER, to_variables
from cnn_jax.weights.detector_parity import PIXELS, SCORE, TOLERANCE, Case, made_up, picture, truths
from cnn_jax.weights.published import QUICK
from cnn_jax.weights.schemes import frozen_epsilon, schemes

PICTURES = ((480, 640), (500, 500), (333, 517), (641, 203))
VARIANTS = {name: value for name, value in vars(faster_rcnn).items() if name.startswith(("fasterrcnn", "maskrcnn"))}
SMALL = (128,), 256  # a short side, and a long one at most
# Deviation of the outputs of the last layers.
SPREAD = {
    "rpn.head.cls_logits": 2.0,
    "rpn.head.bbox_pred": 0.3,
    "roi_heads.box_predictor.cls_score": 2.0,
    "roi_heads.box_predictor.bbox_pred": 1.0,
    "roi_heads.mask_predictor.mask_fcn_logits": 2.0,
}
LOSSES = {
    "loss_objectness": "objectness",
    "loss_rpn_box_reg": "proposals",
    "loss_classifier": "classes",
    "loss_box_reg": "boxes",
    "loss_mask": "masks",
}

Found = dict[str, np.ndarray]  # boxes [K, 4] in the picture, scores, labels from 0, masks [K, H, W] where there are any


def main(names: list[str]) -> None:
    for name in names:
        if name not in VARIANTS:
            raise ValueError(f"no detector '{name}': {did_you_mean(name, VARIANTS)}")
    failed = []
    print(f"{'':38} {'picture':>8} found     boxes    scores     masks    losses  seconds")
    for name in names or VARIANTS:
        for shape in PICTURES:
            began = time.monotonic()
            case = Case(VARIANTS[name], shape, frozen=frozen_epsilon("faster_rcnn", VARIANTS[name]))
            tensors, expected, losses = _theirs(case)
            found, own = _ours(case, tensors)
            far = _far(found, expected)
            far["losses"] = max(abs(own[key] - loss) / loss for key, loss in losses.items())
            limits = {"boxes": PIXELS, "scores": SCORE, "masks": 1e-3, "losses": TOLERANCE}
            bad = [key for key, value in far.items() if not value <= limits[key]]
            failed += [f"{name} {shape}"] * bool(bad)
            row = " ".join(f"{far[key]:9.1e}" if key in far else " " * 9 for key in limits)
            size, took = "x".join(map(str, shape)), time.monotonic() - began
            print(f"{name:38} {size:>8} {len(expected['boxes']):5} {row} {took:8.0f}  {', '.join(bad)}", flush=True)
    if failed:
        raise script.Failed(f"{len(failed)} disagree: {', '.join(failed)}")


def _far(found: Found, expected: Found) -> dict[str, float]:
    """The largest differences, of detections in order; where two are nearly as good as one another, in any order."""
    if len(found["boxes"]) != len(expected["boxes"]):
        return {"boxes": np.inf}
    left, pairs = list(range(len(found["boxes"]))), []
    for i, box in enumerate(expected["boxes"]):
        apart = [
            np.abs(found["boxes"][j] - box).max() + 1e6 * (found["labels"][j] != expected["labels"][i]) for j in left
        ]
        pairs.append(left.pop(int(np.argmin(apart))))
    far = {
        key: float(np.abs(found[key][pairs] - expected[key]).max())
        for key in ("boxes", "scores", "masks")
        if key in found
    }
    wrong = (found["labels"][pairs] != expected["labels"]).any()
    return far | ({"boxes": np.inf} if wrong else {})


def _instances(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map [H, W] of made-up objects, numbered from 1; the later ones lie above."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    found = np.zeros(shape, np.int32)
    for number, (x0, y0, x1, y1) in enumerate(boxes, 1):
        found[(x >= x0) & (x < x1) & (y >= y0) & (y < y1) & ((x + 2 * y) % 7 > 1)] = number
    return found


def _ours(case: Case, tensors: dict[str, np.ndarray]) -> tuple[Found, dict[str, float]]:
    norm = {} if case.frozen is None else {"norm": partial(FrozenBatchNorm, epsilon=case.frozen)}
    module: Any = case.variant(draw=lambda key, shape: -jnp.arange(shape[0], dtype=jnp.float32), **norm)
    scheme = schemes("faster_rcnn", module)["torchvision"]
    variables = to_variables(module, (128, 128, 3), tensors, scheme.names, scheme.flattened)
    example, placement = fit(picture(case), case.prepare)

    def run(variables: Any, image: jax.Array, content: jax.Array, objects: Objects) -> Any:
        x, two = normalised(image[None], case.prepare), jnp.tile(content, (2, 1))
        raw = module.apply(variables, x, train=False, content=content)
        keys = {"sample": jax.random.key(0)}
        seen = module.apply(variables, jnp.tile(x, (2, 1, 1, 1)), train=False, content=two, objects=objects, rngs=keys)
        return module.detections(raw, content), module.losses(seen, objects)

    end = [placement.scale[axis] * placement.original[axis] for axis in (1, 0)]
    content = np.array([[0, 0, *end]], np.float32)
    with convolution.lowering("native"):
        compiled = jax.jit(run, compiler_options=QUICK)
        found, losses = jax.device_get(compiled(variables, example, content, _objects(case, placement, example.shape)))
    there = found.labels[0] >= 0
    result = {key: value[0][there] for key, value in found._asdict().items()}
    result["boxes"] = to_original(result["boxes"], placement)
    if "masks" in result:
        result["masks"] = pasted(result["masks"], result["boxes"], case.picture)
    return result, {key: float(total / count) for key, (total, count) in losses.items()}


def _objects(case: Case, placement: Placement, shape: tuple[int, ...]) -> Objects:
    """Those of `truths` in the first of two images, none in the second."""
    boxes, labels = truths(case)
    count = len(boxes)
    padded, instances = np.zeros((2, count, 4), np.float32), np.zeros((2, *shape[:2]), np.int32)
    padded[0] = to_example(boxes, placement)
    # torchvision resizes masks, too, to the nearest pixel.
    own = _instances(boxes, case.picture)
    height, width = (round(s * o) for s, o in zip(placement.scale, placement.original, strict=True))
    rows, columns = (
        np.minimum(np.floor(np.arange(new, dtype=np.float32) * np.float32(old / new)).astype(int), old - 1)
        for new, old in zip((height, width), case.picture, strict=True)
    )
    instances[0, :height, :width] = own[np.ix_(rows, columns)]
    present = np.zeros((2, count), bool)
    present[0] = True
    both = np.stack([labels, labels])
    return Objects(padded, both, present, np.zeros_like(present), np.ones(2, np.float32), instances)  # type: ignore[arg-type]


class First:
    """In place of torchvision's sampler: takes the first ones."""

    def __init__(self, most: int, share: float) -> None:
        self.most, self.positives = most, int(most * share)

    def __call__(self, matched: Any) -> Any:
        def taken(kind: Any, most: int) -> Any:
            return kind & (kind.cumsum(0) <= most)

        good = [taken(x >= 1, self.positives) for x in matched]
        return good, [taken(x == 0, self.most - int(g.sum())) for x, g in zip(matched, good, strict=True)]


def _theirs(case: Case) -> tuple[dict[str, np.ndarray], Found, dict[str, float]]:
    torch = _import("torch")
    model = _import("torchvision").models.get_model(case.model, weights=None, weights_backbone=None).eval()
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.eps = 1e-5 if case.frozen is None else case.frozen
    state = model.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith(COUNTER)}
    tensors = made_up(case, shapes, {})
    image = torch.from_numpy(picture(case)).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        for name, array in tensors.items():
            state[name].copy_(torch.from_numpy(array))
        resize, sizes = model.transform, (model.transform.min_size, model.transform.max_size)
        resize.min_size, resize.max_size = SMALL  # is enough to see how outputs spread
        for name, spread in SPREAD.items():  # in order: each changes what the next one reads
            if f"{name}.weight" in tensors:
                factor = np.float32(f"{spread / _deviation(model, name, image):.4g}")
                tensors[f"{name}.weight"] = tensors[f"{name}.weight"] * factor
                state[f"{name}.weight"].copy_(torch.from_numpy(tensors[f"{name}.weight"]))
        resize.min_size, resize.max_size = sizes
        (found,) = model([image])
    model.train()
    for norm in norms:
        norm.eval()
    model.rpn.fg_bg_sampler, model.roi_heads.fg_bg_sampler = First(256, 0.5), First(512, 0.25)
    boxes, labels = truths(case)
    own = _instances(boxes, case.picture)
    masks = np.stack([own == number for number in range(1, 1 + len(boxes))]).astype(np.uint8)
    some = {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels + 1).long()}
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    some["masks"], none["masks"] = torch.from_numpy(masks), torch.zeros((0, *case.picture), dtype=torch.uint8)
    with torch.no_grad():
        losses = model([image, image], [some, none])
    result = {key: found[key].numpy() for key in ("boxes", "scores")} | {"labels": found["labels"].numpy() - 1}
    if "masks" in found:
        result["masks"] = found["masks"][:, 0].numpy()
    return tensors, result, {LOSSES[key]: float(loss) for key, loss in losses.items()}


def _deviation(model: Any, name: str, image: Any) -> float:
    """Of the outputs of a layer, without its bias."""
    torch, seen = _import("torch"), []
    module = model.get_submodule(name)

    def keep(module: Any, args: Any, output: Any) -> None:
        seen.append((output - module.bias.reshape(-1, *[1] * (output.ndim - 2))).flatten())

    handle = module.register_forward_hook(keep)
    model([image])
    handle.remove()
    return float(torch.cat(seen).std())


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ImportError(f"{name} is not installed: pip install 'cnn_jax[parity]'") from None


if __name__ == "__main__":
    script.run(main, words=True)
