"""The PyTorch half of `accelerator.py`, a process of its own: a train step of a torchvision network, timed.

The job comes as JSON in the first argument, the answer goes to stdout as a line of JSON: seconds of the first step and
of a usual one (the median of five repetitions), version.
"""

import json
import statistics
import time

import torch
import torchvision
from torch.nn import functional as F

from cnn_jax.launch import script


def main(words: list[str]) -> None:
    job = json.loads(words[0])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # TF32, as XLA's default
    torch.manual_seed(0)
    net = getattr(torchvision.models, job["name"])().to(device, memory_format=torch.channels_last)
    x = torch.randn(job["batch"], 3, job["size"], job["size"], device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.arange(job["batch"], device=device) % 1000
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    forward = torch.compile(net) if job["way"] == "compiled" else net

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=job["precision"] == "bfloat16"):
            loss = F.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def timed(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            step()
        wait()
        return (time.perf_counter() - began) / count

    first = timed(1)
    timed(3)
    count = max(1, round(job["seconds"] / 5 / timed(1)))
    usual = statistics.median(timed(count) for _ in range(5))
    print(json.dumps({"first": first, "step": usual, "version": torch.__version__}))


if __name__ == "__main__":
    script.run(main, words=True)
