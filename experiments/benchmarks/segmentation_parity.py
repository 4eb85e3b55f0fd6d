"""Compare FCN, DeepLabV3 and LR-ASPP with torchvision, logit by logit, on made-up weights.

Command: python experiments/benchmarks/segmentation_parity.py [NAME ...]   all, or those named, at full depth
         python experiments/benchmarks/segmentation_parity.py --write      computes tests/weights/segmenters/ anew
Time: about half a minute of one CPU core a network
Needs: pip install 'cnn_jax[parity]' (PyTorch and torchvision)

The logits of all pixels, and those of the auxiliary head, are compared in evaluation and in float32, for images whose
sides are even and odd, multiples of 32 and not; and the gradient of every parameter in training and in float64, where
the ResNets have one block in each stage. A row shows the worst relative difference of each.
"""

import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from cnn_jax.inspect.models import published
from cnn_jax.launch import script
from cnn_jax.lookup import did_you_mean
from cnn_jax.models.segmenter import LOGITS, loss_weights
from cnn_jax.weights import parity, segmenter_parity
from cnn_jax.weights.convert import COUNTER
from cnn_jax.weights.segmenter_parity import CASES, SIZE, Case

WRITE = flags.DEFINE_bool("write", False, "compute the stored references of the tests anew")
FOLDER = Path(__file__).parents[2] / "tests" / "weights" / "segmenters"
SIZES = ((96, 128), SIZE, (33, 65), (130, 47))
OUTPUTS = {"out": LOGITS, "aux": "feature aux"}

Arrays = dict[str, np.ndarray]


def main(names: list[str]) -> None:
    if WRITE.value:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, case in CASES.items():
            model = _published(case)
            digests = parity.digests(_forward(model, SIZE))
            parity.write(FOLDER / f"{name}.npz", parity.Reference((*SIZE, 3), _shapes(model), digests))
        return
    variants = published().items()
    known = {full.partition(".")[2]: Case(one) for full, one in variants if one.task == "segment" and one.reference}
    for name in names:
        if name not in known:
            raise ValueError(f"no segmenter '{name}': {did_you_mean(name, known)}")
    failed = []
    for name in names or known:
        began = time.monotonic()
        worst = _worst(known[name])
        bad = parity.too_far(worst)
        failed += [name] * bool(bad)
        row = "  ".join(f"{what} {far:.1e}" for what, far in worst.items())
        print(f"{name:30} {row}  {'disagrees' if bad else 'agrees'}  {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        raise script.Failed(f"{len(failed)} disagree: {', '.join(failed)}")


def _worst(case: Case) -> dict[str, float]:
    """The largest distance of the logits for each size, and of the gradients."""
    model, found = _published(case), dict[str, float]()
    for size in SIZES:
        far = _distances(segmenter_parity.forward(case, _shapes(model), size), _forward(model, size))
        found[f"logits of {size[0]}x{size[1]}"] = max(far.values())
    shallow = case._replace(shallow="resnet" in case.model)
    model = _published(shallow).double()
    far = _distances(segmenter_parity.gradients(shallow, _shapes(model), SIZE), _gradients(model, shallow))
    return found | {"gradient": max(far.values())}


def _distances(ours: Arrays, expected: Arrays) -> dict[str, float]:
    """max |ours - expected| / max |expected|, with the scales of `parity.scales`; the names are the same."""
    if ours.keys() != expected.keys():
        raise ValueError(f"other arrays are compared: {sorted(ours.keys() ^ expected.keys())[:4]}")
    sizes = parity.scales({name: float(np.abs(array).max()) for name, array in expected.items()})
    return {name: float(np.abs(ours[name] - array).max()) / sizes[name] for name, array in expected.items()}


def _published(case: Case) -> Any:
    """torchvision's model with its auxiliary head, shallow where the case is, without dropout."""
    kind = importlib.import_module("torchvision.models.segmentation." + case.model.partition("_")[0])
    if case.shallow:
        resnet = importlib.import_module("torchvision.models.resnet")
        body = resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], replace_stride_with_dilation=[False, True, True])
        model = getattr(kind, f"_{case.model.rstrip('0123456789')}")(body, case.variant.classes, True)
    else:
        aux = {} if "lraspp" in case.model else {"aux_loss": True}
        model = getattr(kind, case.model)(weights=None, weights_backbone=None, **aux)
    for module in model.modules():
        if type(module).__name__ == "Dropout":
            module.p = 0.0
        if hasattr(module, "running_mean"):
            module.momentum = 0.0
    return model


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(x.shape) for name, x in model.state_dict().items() if not name.endswith(COUNTER)}


def _fill(model: Any, *, calm: bool) -> None:
    torch, state = importlib.import_module("torch"), model.state_dict()
    for name, array in parity.all_made_up(_shapes(model), calm=calm).items():
        state[name].copy_(torch.from_numpy(array))


def _forward(model: Any, size: tuple[int, int]) -> Arrays:
    torch = importlib.import_module("torch")
    _fill(model.eval(), calm=False)
    with torch.no_grad():
        found = model(torch.from_numpy(segmenter_parity.images(size)).movedim(-1, 1))
    return {OUTPUTS[name]: value.movedim(1, -1).numpy() for name, value in found.items()}


def _gradients(model: Any, case: Case) -> Arrays:
    torch = importlib.import_module("torch")
    _fill(model.train(), calm=True)
    found = model(torch.from_numpy(segmenter_parity.images(SIZE, calm=True)).double().movedim(-1, 1))
    truth = torch.from_numpy(segmenter_parity.truth(SIZE, case.variant.classes)).long()
    weights = {"out": 1.0, "aux": loss_weights(case.module).get("aux", 0.0)}
    sum(weights[name] * torch.nn.functional.cross_entropy(x, truth) for name, x in found.items()).backward()
    return {f"gradient {name}": value.grad.numpy() for name, value in model.named_parameters()}


if __name__ == "__main__":
    script.run(main, words=True)
