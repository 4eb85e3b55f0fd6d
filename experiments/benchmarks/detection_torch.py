"""The half of `detection.py` that is torchvision's, as a process of its own, which `detection.py` starts."""

from typing import Any

import detection_parity
import torch
import torchvision
from child import Modes, serve

from cnn_jax.weights.detector_parity import CASES, picture


def prepare(job: dict[str, Any]) -> tuple[dict[str, Any], Modes]:
    torch.set_num_threads(job["threads"])
    facts = {"version": f"torchvision {torchvision.__version__}"}
    if "boxes" in job:
        boxes, scores = torch.tensor(job["boxes"]), torch.tensor(job["scores"])

        def suppress(steps: int) -> None:
            for _ in range(steps):
                torchvision.ops.nms(boxes, scores, job["threshold"])

        kept = torchvision.ops.nms(boxes, scores, job["threshold"]).tolist()
        return {**facts, "kept": kept}, {"run": suppress}
    case = CASES[job["detector"]]._replace(picture=tuple(job["picture"]), shallow={}, size=None)
    model, shapes, factors = detection_parity.filled(case)
    pixels = torch.from_numpy(picture(case)).permute(2, 0, 1)

    @torch.inference_mode()
    def detect(steps: int) -> None:
        for _ in range(steps):
            model([pixels.float() / 255])

    with torch.inference_mode():
        found = len(model([pixels.float() / 255])[0]["scores"])
    return {**facts, "found": found, "shapes": shapes, "factors": factors}, {"run": detect}


if __name__ == "__main__":
    serve(prepare)
