"""PyTorch's side of `input.py`, a process of its own, as input_sides.py says."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from child import serve
from input_sides import AREAS, ASPECTS, MEAN, STD, Stream, cropped, files, opened, started


def _torch(job: dict[str, Any]) -> Stream:
    try:
        from torchvision import transforms
    except ImportError:
        transforms = None
    last: list[Any]
    if transforms is None:
        first: list[Any] = [partial(cropped, size=job["size"])]
        last, version = [partial(_tensor, floats=job["floats"])], f"torch {torch.__version__}, without torchvision"
    else:
        crop = transforms.RandomResizedCrop(job["size"], scale=AREAS, ratio=ASPECTS, antialias=True)
        first = [crop, transforms.RandomHorizontalFlip()]
        floats = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        last, version = floats if job["floats"] else [transforms.PILToTensor()], f"torch {torch.__version__}"
    data = _Files(files(job["folder"]), [*first, *last])
    # Permutation after permutation, without the pause that an iterator makes at the end of its epoch.
    sampler = torch.utils.data.RandomSampler(data, num_samples=1000 * len(data))  # type: ignore[arg-type]
    loader = torch.utils.data.DataLoader(
        data,  # type: ignore[arg-type]
        batch_size=job["batch"],
        sampler=sampler,
        num_workers=job["threads"],
        persistent_workers=True,
        drop_last=True,
    )
    return (images for images, _ in itertools.chain.from_iterable(itertools.repeat(loader))), version


class _Files:
    """A data set as PyTorch takes it: the pictures of a list of files with their classes."""

    def __init__(self, files: list[tuple[str, int]], steps: list[Callable[[Any], Any]]) -> None:
        self.files, self.steps = files, steps

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.files[index]
        made = opened(path)
        for step in self.steps:
            made = step(made)
        return made, label


def _tensor(picture: Any, floats: bool) -> Any:
    made = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
    return (
        made
        if not floats
        else made.float().div(255).sub(torch.tensor(MEAN)[:, None, None]).div(torch.tensor(STD)[:, None, None])
    )


prepare = partial(started, {"torch": _torch})


if __name__ == "__main__":
    serve(prepare)
