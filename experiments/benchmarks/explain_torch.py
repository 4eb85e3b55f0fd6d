"""captum's side of `explain.py`, which starts this file as a process of its own."""

import copy
from functools import partial
from typing import Any

import torch
from captum.attr import DeepLift, IntegratedGradients, LayerGradCam, Saliency
from child import Modes, serve
from serve_torch import FORMATS, efficientnet_lite0
from torch import Tensor, nn
from torch.nn.functional import interpolate

LABEL, BATCH = 7, 20


def prepare(job: dict[str, Any]) -> tuple[dict[str, Any], Modes]:
    torch.set_num_threads(job["threads"])
    net = efficientnet_lite0().eval()
    for part in net.modules():
        if isinstance(part, nn.ReLU6):
            part.inplace = False
    x = torch.randn(1, 3, job["side"], job["side"])
    modes: Modes = {}
    for name, form in FORMATS.items():
        own: Any = copy.deepcopy(net).to(memory_format=form)  # type: ignore[call-overload]
        image = x.contiguous(memory_format=form)
        last = own[-4]
        calls = {
            "gradient": partial(Saliency(own).attribute, image, LABEL, abs=False),
            "grad_cam": partial(LayerGradCam(own, last).attribute, image, LABEL),
            "integrated_gradients": partial(
                IntegratedGradients(own).attribute, image, target=LABEL, n_steps=50, internal_batch_size=10
            ),
            "deep_lift": partial(DeepLift(own).attribute, image, target=LABEL),
            "rise": partial(_rise, own, image, job["masks"], form),
        }
        modes |= {f"{method} {name}": partial(_repeat, call) for method, call in calls.items()}
    return {"version": f"torch {torch.__version__}"}, modes


def _repeat(call: Any, steps: int) -> None:
    for _ in range(steps):
        call()


@torch.inference_mode()
def _rise(net: nn.Module, image: Tensor, masks: int, form: torch.memory_format) -> Tensor:
    """Petsiuk et al. 2018: grids of 8 x 8 enlarged and shifted."""
    side = image.shape[-1]
    cell = -(-side // 8)
    found = torch.zeros(side, side)
    for start in range(0, masks, BATCH):
        count = min(BATCH, masks - start)
        large = interpolate((torch.rand(count, 1, 8, 8) < 0.5).float(), size=(9 * cell, 9 * cell), mode="bilinear")
        shifts = torch.randint(cell, (count, 2)).tolist()
        drawn = torch.stack([m[:, i : i + side, j : j + side] for m, (i, j) in zip(large, shifts, strict=True)])
        scores = net((image * drawn).contiguous(memory_format=form))[:, LABEL]
        found += torch.einsum("n,nhw->hw", scores, drawn[:, 0])
    return found / (masks * 0.5)


if __name__ == "__main__":
    serve(prepare)
