"""Three steps of each experiment of full_scale/ on mocked data of the true shapes.

Prints the loss of each step, and fails where one is not finite or no parameter moves. Programs for large
pictures take a minute or more to compile on two cores; --batch examples a step keep the memory small, and all else is
as the experiment's file says, but for its initial weights, which are drawn. The tests trace the same losses without
computing them.

Command: python experiments/benchmarks/full_scale.py; some of them with the names of files, as cifar10_resnet20
Time: 49 to 189 s on 2 CPU cores for each of the three largest, beside other work
"""

import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from cnn_jax import config as configuration
from cnn_jax.config import Experiment
from cnn_jax.data.prepare import ImagePrepare, Prepare
from cnn_jax.data.sound import SoundPrepare
from cnn_jax.data.spec import INDEX, VALID, Field, Spec
from cnn_jax.launch import experiment_file, script

STEPS = 3
BATCH = flags.DEFINE_integer("batch", 2, "examples a step", lower_bound=1)
OBJECTS = 93  # of the fullest picture of COCO's train2017


def _spec(name: str, classes: int, inputs: dict[str, Field], targets: dict[str, Field]) -> Spec:
    shape = next(iter(inputs.values())).shape
    image = len(shape) == 3
    prepare: Prepare = ImagePrepare(size=shape[:2], mean=(0.5,) * 3, std=(0.25,) * 3) if image else SoundPrepare()
    names = tuple(f"class {number}" for number in range(classes))
    return Spec(
        name=name,
        classes=names,
        inputs=inputs,
        targets=targets,
        prepare=prepare,
        licence="",
        citation="",
        fingerprint="0" * 64,
    )


def _labelled(name: str, side: int, classes: int) -> Spec:
    image = Field("image", (side, side, 3), "uint8")
    return _spec(name, classes, {"image": image}, {"label": Field("label", (), "int32")})


def _heard(name: str, samples: int, classes: int) -> Spec:
    signal = Field("signal", (samples, 1), "float32")
    return _spec(name, classes, {"signal": signal}, {"label": Field("label", (), "int32")})


def _boxed(height: int, width: int) -> Spec:
    inputs = {"image": Field("image", (height, width, 3), "uint8"), "placement": Field("placement", (6,), "float32")}
    targets = {
        "boxes": Field("boxes", (OBJECTS, 4), "float32"),
        "objects": Field("box_labels", (OBJECTS,), "int32"),
        "ignored": Field("box_ignored", (OBJECTS,), "uint8"),
        "areas": Field("box_areas", (OBJECTS,), "float32"),
    }
    return _spec("coco", 80, inputs, targets)


def _masked(side: int) -> Spec:
    inputs = {"image": Field("image", (side, side, 3), "uint8"), "placement": Field("placement", (6,), "float32")}
    return _spec("voc", 21, inputs, {"class_map": Field("class_map", (side, side), "uint8")})


MOCKED = {  # what each reads, and how many examples it trains on
    "cifar10_resnet20": (_labelled("cifar10", 32, 10), 45_000),
    "cifar10_wrn_28_10": (_labelled("cifar10", 32, 10), 50_000),
    "imagenet_resnet50": (_labelled("imagenet", 224, 1000), 1_281_167),
    "imagenet_convnext_tiny": (_labelled("imagenet", 224, 1000), 1_281_167),
    "coco_retinanet": (_boxed(800, 1088), 117_266),
    "speech_commands_bc_resnet": (_heard("speech_commands", 16_000, 12), 85_511),
    "voc_deeplabv3": (_masked(513), 10_582),
}


def experiment(path: Path) -> Experiment:
    """The experiment in a file, to be begun with drawn weights."""
    config = experiment_file.load(str(path))[1]
    return configuration.changed(config, {"transfer.weights": ""})


def files() -> list[Path]:
    """Those of full_scale/."""
    return experiment_file.experiment_files(within=experiment_file.FULL_SCALE)


def batch(spec: Spec, size: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """`size` examples of noise: with boxes, two objects in each picture."""

    def array(field: Field) -> np.ndarray:
        shape = (size, *field.shape)
        if field.role == "image":
            return draw.integers(256, size=shape, dtype=np.uint8)
        if field.role == "signal":
            return draw.uniform(-1, 1, shape).astype(np.float32)
        if field.role in ("label", "class_map"):
            return draw.integers(len(spec.classes), size=shape).astype(field.dtype)
        found = np.full(shape, -1 if field.role == "box_labels" else 0, field.dtype)
        height, width = spec.input.shape[:2]
        if field.role == "box_labels":
            found[:, :2] = draw.integers(len(spec.classes), size=(size, 2))
        elif field.role == "boxes":
            found[:, :2] = (width // 8, height // 8, width // 2, height // 2), (width // 3, 0, width, height // 3)
        elif field.role == "box_areas":
            found[:, :2] = 0.1 * height * width
        elif field.role == "placement":
            found[:] = (height, width, 0, 0, height, width)
        return found

    arrays = {name: array(field) for name, field in spec.fields.items()}
    return arrays | {VALID: np.ones(size, np.float32), INDEX: np.arange(size)}


def _losses(config: Experiment, spec: Spec, examples: int) -> list[float]:
    from cnn_jax.train import run as running

    size = {"data.batch_size": BATCH.value, "optim.accumulate": 1}
    run = running.assemble(configuration.changed(config, size), spec, examples)
    state = running.fresh(run)
    before = jax.device_get(run.engine.variables(state)["params"])
    draw, losses = np.random.default_rng(0), list[float]()
    for _ in range(STEPS):
        state, fetch = run.engine.step(state, run.engine.place_batch(batch(spec, BATCH.value, draw)))
        total, count = fetch()["loss"]
        losses.append(total / count)
    after: Any = jax.device_get(run.engine.variables(state)["params"])
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    # Not of each: behind a scale that begins as zero nothing moves in three steps of a warm-up.
    if all(np.array_equal(old, new) for old, new in pairs):
        raise script.Failed(f"no parameter of {config.name} has moved")
    return losses


def main(names: list[str]) -> None:
    """Prints a line for each experiment. Raises Failed where a step is not one."""
    for path in files():
        if names and path.stem not in names:
            continue
        began = time.monotonic()
        losses = _losses(experiment(path), *MOCKED[path.stem])
        said = ", ".join(f"{loss:.4f}" for loss in losses)
        print(f"{path.stem:24} loss {said}   {time.monotonic() - began:.0f} s", flush=True)
        if not all(map(math.isfinite, losses)):
            raise script.Failed(f"a loss of {path.stem} is not finite")


if __name__ == "__main__":
    script.run(main, words=True)
