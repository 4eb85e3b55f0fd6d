"""The sides of `input.py` but PyTorch's, one in each process: a stream of batches without end, of which it takes some.

As child.py says. The job is {"side", "floats", "folder", "batch", "size", "threads"}, where `threads` are the cores;
the answer {"pid", "version", "rest"}, the last one the MB of this process before the first batch is read.
"""

import itertools
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from child import Modes, megabytes, serve

AREAS, ASPECTS = (0.08, 1.0), (3 / 4, 4 / 3)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


Stream = tuple[Iterator[Any], str]  # batches, and of which version of what


def started(
    makers: Mapping[str, Callable[[dict[str, Any]], Stream]], job: dict[str, Any]
) -> tuple[dict[str, Any], Modes]:
    """What the parent is told first, and what it may ask for; the side of the job says which of the streams it is."""
    batches, version = makers[job["side"]](job)

    def run(steps: int) -> None:
        for batch in itertools.islice(batches, steps):
            assert batch.shape[0] == job["batch"] and job["size"] in batch.shape[1:3] + batch.shape[2:]

    return {"pid": os.getpid(), "version": version, "rest": megabytes("VmRSS")}, {"batches": run}


# This project


def _project(job: dict[str, Any], held: bool) -> Stream:
    import jax

    from cnn_jax.augment.geometry import flip
    from cnn_jax.batch import Batch, normalised
    from cnn_jax.data import decoded
    from cnn_jax.data.batches import begun, in_turn, prefetch
    from cnn_jax.data.folder import folder
    from cnn_jax.data.source import in_memory

    if not held:
        decoded.PICTURES = 0
    source = in_memory(folder(job["folder"], size=job["size"], random_area=AREAS, random_aspect=ASPECTS)["all"])
    fields, key = source.spec.fields, jax.random.key(0)

    @jax.jit
    def mirrored(batch: Any, step: Any) -> Any:
        keys = jax.random.split(jax.random.fold_in(key, step), batch.size)
        return normalised(flip(keys, batch.scaled())["image"], source.spec.prepare)

    def place(batch: dict[str, Any]) -> Any:
        return Batch(jax.device_put({name: array for name, array in batch.items() if name != "index"}), fields)

    def stream() -> Iterator[Any]:
        ahead = prefetch(map(place, in_turn(begun(source, 0, step, job["batch"]) for step in itertools.count())))
        for step, batch in enumerate(ahead):
            # Bytes are what the training step takes in: it mirrors floats.
            yield (mirrored(batch, step) if job["floats"] else batch["image"]).block_until_ready()

    return stream(), f"jax {jax.__version__}"


# grain


def _grain(job: dict[str, Any], workers: bool) -> Stream:
    import importlib.metadata

    import grain
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # grain asks for its own
    data = grain.MapDataset.source(files(job["folder"])).seed(0).shuffle().repeat()
    data = data.map(partial(_example, size=job["size"], floats=job["floats"]))
    threads = grain.ReadOptions(num_threads=1, prefetch_buffer_size=job["batch"]) if workers else None
    stream = data.to_iter_dataset(threads).batch(job["batch"], drop_remainder=True)
    if workers:
        stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=job["threads"], per_worker_buffer_size=2))
    version = f"grain {importlib.metadata.version('grain')}"
    return (images for images, _ in stream), version


def _example(file: tuple[str, int], size: int, floats: bool) -> tuple[Any, int]:
    import numpy as np

    made = np.asarray(cropped(opened(file[0]), size))
    if floats:
        made = (made.astype(np.float32) / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
    return made, file[1]


# Files and boxes, also PyTorch's


def files(folder: str) -> list[tuple[str, int]]:
    classes = sorted(path for path in Path(folder).iterdir() if path.is_dir())
    return [(str(file), label) for label, path in enumerate(classes) for file in sorted(path.glob("*.jpg"))]


def opened(path: str) -> Any:
    from PIL import Image

    with open(path, "rb") as file:
        return Image.open(file).convert("RGB")


def cropped(picture: Any, size: int) -> Any:
    """A random box as torchvision's RandomResizedCrop draws it, and mirrored half of the time."""
    from PIL import Image

    low, high = (math.log(ratio) for ratio in ASPECTS)
    for _ in range(10):
        area, ratio = random.uniform(*AREAS) * picture.width * picture.height, math.exp(random.uniform(low, high))
        wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= picture.width and 0 < tall <= picture.height:
            break
    else:
        wide = tall = min(picture.size)
    left, top = random.randint(0, picture.width - wide), random.randint(0, picture.height - tall)
    made = picture.crop((left, top, left + wide, top + tall)).resize((size, size), Image.Resampling.BILINEAR)
    return made.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else made


prepare = partial(
    started,
    {
        "project": partial(_project, held=False),
        "project_held": partial(_project, held=True),
        "grain_workers": partial(_grain, workers=True),
        "grain_threads": partial(_grain, workers=False),
    },
)


if __name__ == "__main__":
    serve(prepare)
