"""Compare the detectors of torchvision's family with torchvision, picture in and boxes out, on made-up weights.

Command: python experiments/benchmarks/detection_parity.py [NAME ...]     at full depth and size, on several pictures
         python experiments/benchmarks/detection_parity.py --write        computes tests/weights/detectors/ anew
Time: about half a minute a detector and picture on two CPU cores
Needs: pip install 'cnn_jax[parity]' (PyTorch and torchvision)

Pictures of 480x640 (brought to 800x1066), of a square, and of odd sizes and proportions. A row shows how many objects
were found, and what of raw outputs and detections is too far apart. Losses are compared by the tests.
"""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from cnn_jax.launch import script
from cnn_jax.lookup import did_you_mean
from cnn_jax.weights import detector_parity, parity
from cnn_jax.weights.convert import COUNTER
from cnn_jax.weights.detector_parity import CASES, Case, Reference, Results

WRITE = flags.DEFINE_bool("write", False, "compute the stored references of the tests anew")
FOLDER = Path(__file__).parents[2] / "tests" / "weights" / "detectors"
PICTURES = ((480, 640), (500, 500), (333, 517), (641, 203))
# torchvision's names of raw outputs and losses, and ours.
RAW = {
    "cls_logits": "logits",
    "bbox_regression": "deltas",
    "bbox_ctrness": "centerness",
}
LOSSES = {"classification": "classification", "bbox_regression": "boxes", "bbox_ctrness": "centerness"}
SPREAD = {"cls_logits": 1.5, "classification_head.module_list": 1.5, "bbox_ctrness": 1.0}  # of the last layers' outputs
BOXES = {True: 2.0, False: 0.5}  # distances of FCOS, and deltas


def main(names: list[str]) -> None:
    for name in names:
        if name not in CASES:
            raise ValueError(f"no detector '{name}': {did_you_mean(name, CASES)}")
    failed = []
    for name in names or CASES:
        case = CASES[name]
        if WRITE.value:
            FOLDER.mkdir(parents=True, exist_ok=True)
            reference = _reference(case, losses=True)
            detector_parity.write(FOLDER / f"{name}.npz", reference)
            print(f"{name}: {len(reference.results.found)} found, losses {reference.results.losses}", flush=True)
            continue
        for picture in PICTURES:
            began = time.monotonic()
            full = case._replace(picture=picture, shallow={}, size=None)
            reference = _reference(full, losses=False)
            ours = detector_parity.run(full, reference.tensors, reference.factors)
            said = detector_parity.differences(ours, reference.results)
            failed += [f"{name} {picture}"] * bool(said)
            size = "x".join(map(str, picture))
            what = "; ".join(said) or "agree"
            count = len(reference.results.found)
            print(f"{name:14} {size:>8} {count:4} found  {what}  {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        raise script.Failed(f"{len(failed)} disagree: {', '.join(failed)}")


def filled(case: Case) -> tuple[Any, dict[str, tuple[int, ...]], dict[str, float]]:
    """torchvision's model with made-up weights, their shapes, and the factors of some, see `Reference`."""
    model = _published(case)
    shapes = {name: tuple(x.shape) for name, x in model.state_dict().items() if not name.endswith(COUNTER)}
    factors = dict.fromkeys(_last(model), 1.0)
    _fill(model, detector_parity.made_up(case, shapes, factors))
    factors = _calibrated(model.eval(), _image(case), [*factors])
    _fill(model, detector_parity.made_up(case, shapes, factors))
    return model, shapes, factors


def _image(case: Case) -> Any:
    return _import("torch").from_numpy(detector_parity.picture(case)).permute(2, 0, 1).float() / 255


def _reference(case: Case, *, losses: bool) -> Reference:
    torch, image = _import("torch"), _image(case)
    model, shapes, factors = filled(case)
    raw: dict[str, np.ndarray] = {}

    def keep(module: Any, args: Any, output: dict[str, Any]) -> None:
        raw.update({RAW[name]: value.numpy() for name, value in output.items()})

    handle = model.head.register_forward_hook(keep)
    with torch.no_grad():
        (found,) = model([image])
    handle.remove()
    if "centerness" in raw:
        raw["distances"] = raw.pop("deltas")
    boxes, scores, labels = (found[name].numpy() for name in ("boxes", "scores", "labels"))
    results = Results(
        parity.digests(raw),
        np.column_stack([boxes, scores, labels - 1]),
        _losses(model, case, image) if losses else {},
    )
    return Reference(shapes, factors, results)


def _losses(model: Any, case: Case, image: Any) -> dict[str, float]:
    """Of two pictures alike, one with objects and one without, by norms in evaluation."""
    torch = _import("torch")
    for module in model.train().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    boxes, labels = detector_parity.truths(case)
    targets = [
        {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels + 1).long()},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    with torch.no_grad():
        found = model([image, image], targets)
    return {LOSSES[name]: float(value) for name, value in found.items()}


def _published(case: Case) -> Any:
    """torchvision's model, shallow where the case is."""
    detection, resnet = _import("torchvision.models.detection"), _import("torchvision.models.resnet")
    pyramid, ops = _import("torchvision.ops.feature_pyramid_network"), _import("torchvision.ops.misc")
    norm: Callable[..., Any] | None = None
    if case.frozen is not None:
        norm = lambda channels: ops.FrozenBatchNorm2d(channels, eps=case.frozen)  # noqa: E731
    if case.sigmoid:
        blocks = [1, 1, 1, 1] if case.shallow else [3, 4, 6, 3]
        body = resnet.ResNet(resnet.Bottleneck, blocks, norm_layer=norm)
        top = pyramid.LastLevelP6P7(2048 if "v2" in case.model else 256, 256)
        backbone = _import("torchvision.models.detection.backbone_utils")._resnet_fpn_extractor(
            body, 5, returned_layers=[2, 3, 4], extra_blocks=top
        )
        size = dict(zip(("min_size", "max_size"), case.size, strict=True)) if case.size else {}
        kind = detection.FCOS if "fcos" in case.model else detection.RetinaNet
        head = {}
        if "v2" in case.model:
            torch, functools = _import("torch"), _import("functools")
            family = _import("torchvision.models.detection.retinanet")
            group = functools.partial(torch.nn.GroupNorm, 32)
            head["head"] = family.RetinaNetHead(256, 9, 91, norm_layer=group)
            head["head"].regression_head._loss_type = "giou"
        return kind(backbone, 91, **size, **head)
    return _import("torchvision").models.get_model(case.model, weights=None, weights_backbone=None)


def _last(model: Any) -> list[str]:
    """The weights of the last layers, which make the raw outputs."""
    conv = _import("torch").nn.Conv2d
    return [
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, conv)
        and name.startswith("head.")
        and module.groups == 1
        and any(part in name for part in ("cls_logits", "bbox_", "module_list"))
    ]


def _calibrated(model: Any, image: Any, names: list[str]) -> dict[str, float]:
    """Factors by which the last layers' outputs, without their bias, have the deviations of SPREAD."""
    torch = _import("torch")
    modules = dict(model.named_modules())
    seen: dict[str, list[Any]] = {name: [] for name in names}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, args, output: seen[name].append(output - module.bias[None, :, None, None])

    handles = [modules[name.removesuffix(".weight")].register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        model([image])
    for handle in handles:
        handle.remove()
    fcos = any("bbox_ctrness" in name for name in names)
    wanted = {name: next((s for part, s in SPREAD.items() if part in name), BOXES[fcos]) for name in names}
    return {name: float(f"{wanted[name] / torch.cat([x.flatten() for x in seen[name]]).std():.4g}") for name in names}


def _fill(model: Any, tensors: dict[str, np.ndarray]) -> None:
    state = model.state_dict()
    for name, array in tensors.items():
        state[name].copy_(_import("torch").from_numpy(array))


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ImportError(f"{name} is not installed: pip install 'cnn_jax[parity]'") from None


if __name__ == "__main__":
    script.run(main, words=True)
