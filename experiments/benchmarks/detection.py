"""What detection costs: suppression and whole detectors beside torchvision's, and a train step beside a classifier's.

Command: python experiments/benchmarks/detection.py
Time: 8 min on two CPU cores, which nothing else may use
Needs: pip install 'cnn_jax[parity]' (PyTorch and torchvision); without it the last table alone is measured

- Suppression of 1,000 boxes with all their scores: spread over the image, in 20 clusters, and in a chain of which each
  box overlaps the next. The positions that both keep must be the same, in order. Ours runs ten times within a program,
  as within a detector; torchvision's is called ten times from Python, as its detectors do.
- Detectors, one picture at a time, from its pixels to boxes in it: resizing, network, decoding and suppression. Both
  have the same made-up weights, and must find as many objects.
- A train step of the small detector of experiments/scenes.py, and that of its backbone as a classifier of the same
  images in the same batch.

Both sides take turns; a number is the median of the rounds. torchvision runs in a process of its own, which sleeps
while it is not asked.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags
from turns import Call, beside, medians, stepping, timed

from cnn_jax.devices import ask_for_huge_pages, set_xla_flags
from cnn_jax.inspect.table import table
from cnn_jax.launch import script

ROUNDS = flags.DEFINE_integer("rounds", 9, "how often each side is timed", lower_bound=1)
QUICK = flags.DEFINE_bool("quick", False, "few boxes and one small detector: to see that everything works")
THRESHOLD, TEN = 0.5, 10
PICTURE = (480, 640)
DETECTORS = ("ssdlite320", "retinanet")
TORCH = "detection_torch.py"


def main() -> None:
    if importlib.util.find_spec("torchvision") is None:
        print("torchvision is not installed: only train steps are timed (pip install 'cnn_jax[parity]')")
    else:
        print(_compared("boxes", ("spread", "clusters", "chain"), suppression), flush=True)
        print(_compared("detector", DETECTORS[:1] if QUICK.value else DETECTORS, detector), flush=True)
    print(train_steps())


def _compared(what: str, names: tuple[str, ...], measure: Callable[[str], tuple[str, Call, Call]]) -> str:
    rows = []
    for name in names:
        said, ours, theirs = measure(name)
        mine, other = medians(_rounds(), ours, theirs)
        rows.append((f"{name}, {said}", f"{1000 * mine:.3g}", f"{1000 * other:.3g}", f"{other / mine:.2f}"))
    return "\n" + table((what, "ours, ms", "torchvision, ms", "torchvision / ours"), rows)


def _rounds() -> int:
    return 1 if QUICK.value else ROUNDS.value


def suppression(kind: str) -> tuple[str, Call, Call]:
    import jax

    from cnn_jax.ops.nms import nms

    boxes, scores = some_boxes(kind, 50 if QUICK.value else 1000)
    job = {"boxes": boxes.tolist(), "scores": scores.tolist(), "threshold": THRESHOLD}
    facts, asked = beside(TORCH, job)

    def once(boxes: jax.Array, scores: jax.Array) -> Any:
        return nms(boxes, scores, THRESHOLD, len(scores))

    def ten_times(boxes: jax.Array, scores: jax.Array) -> jax.Array:
        def again(_: int, zero: jax.Array) -> jax.Array:  # each depends on the one before, or it would run once
            return zero * once(boxes + zero, scores).valid.sum()

        return jax.lax.fori_loop(0, TEN, again, jax.numpy.float32(0))

    boxes, scores = jax.device_put((boxes, scores))  # as torchvision has tensors
    kept = jax.jit(once)(boxes, scores)
    found = np.asarray(kept.indices)[np.asarray(kept.valid)].tolist()
    if found != facts["kept"]:
        raise script.Failed(f"{kind}: {len(found)} boxes are kept, torchvision keeps {len(facts['kept'])} or others")
    ours = timed(functools.partial(jax.jit(ten_times), boxes, scores))
    return f"{len(found)} kept", lambda: ours() / TEN, asked("run", TEN)


def some_boxes(kind: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [count, 4] and scores [count], float32."""
    draw = np.random.default_rng(0)
    if kind == "chain":
        left = np.arange(count) * 4.0
        boxes = np.stack([left, 0 * left, left + 16, 0 * left + 16], 1)  # of neighbours the IoU is .6
        return boxes.astype(np.float32), np.linspace(1, 0.1, count).astype(np.float32)
    centres = draw.uniform(0, 1000, (20 if kind == "clusters" else count, 2))
    centres = centres[np.arange(count) % len(centres)] + draw.normal(0, 4, (count, 2))
    sides = draw.uniform(60, 80, (count, 2)) if kind == "clusters" else draw.uniform(10, 60, (count, 2))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
    return boxes.astype(np.float32), draw.random(count).astype(np.float32)


def detector(name: str) -> tuple[str, Call, Call]:
    from cnn_jax.weights.detector_parity import CASES, detecting

    case = CASES[name]._replace(picture=PICTURE, shallow={}, size=None)
    facts, asked = beside(TORCH, {"detector": name, "picture": PICTURE})
    shapes = {tensor: tuple(shape) for tensor, shape in facts["shapes"].items()}
    detect = detecting(case, shapes, facts["factors"])
    found = len(detect())
    if found != facts["found"]:
        raise script.Failed(f"{name}: {found} objects are found, torchvision finds {facts['found']}")
    return f"{found} found", timed(detect), asked("run")


def train_steps() -> str:
    """A step of the detector, of its backbone as a classifier, and their quotient."""
    from functools import partial

    from cnn_jax.data.spec import INDEX, VALID, Field
    from cnn_jax.launch.experiment_file import load
    from cnn_jax.tasks.classify import classify
    from cnn_jax.train.run import assemble, fresh

    _, config = load("scenes")
    config.data.batch_size = 4 if QUICK.value else config.data.batch_size
    config.save_every = "0 steps"
    detector = config.model.build(classes=10, dtype="float32")
    spec, batch = _scenes(config.data.batch_size)
    labelled = {"label": Field("label", (), "int32")}
    calls = []
    for build, task, targets in (
        (config.model.build, config.model.task, spec.targets),
        (partial(detector.backbone), classify, labelled),
    ):
        config.model.build, config.model.task = build, task
        run = assemble(config, spec.__class__(**{**vars(spec), "targets": targets}), 40_000)
        state = fresh(run)
        fields = {name: batch[name] for name in (*run.spec.fields, VALID, INDEX)}
        calls.append(stepping(run, state, run.engine.place_batch(fields), 1 if QUICK.value else 5))
    ours, plain = medians(_rounds(), *calls)
    rows = [(f"batch {config.data.batch_size}", f"{1000 * ours:.0f}", f"{1000 * plain:.0f}", f"{ours / plain:.2f}")]
    return "\n" + table(("train step", "detector, ms", "its backbone as a classifier, ms", "quotient"), rows)


def _scenes(count: int) -> tuple[Any, dict[str, np.ndarray]]:
    """The description of scenes, and a batch of images with random boxes."""
    from cnn_jax.data.prepare import ImagePrepare
    from cnn_jax.data.spec import INDEX, VALID, Field, Spec

    draw, most, size = np.random.default_rng(0), 6, 96
    low = draw.uniform(0, 60, (count, most, 2))
    batch = {
        "image": draw.integers(256, size=(count, size, size, 1)).astype(np.uint8),
        "boxes": np.concatenate([low, low + draw.uniform(15, 36, (count, most, 2))], -1).astype(np.float32),
        "objects": np.where(np.arange(most) < 4, draw.integers(10, size=(count, most)), -1).astype(np.int32),
        "ignored": np.zeros((count, most), np.uint8),
        "label": draw.integers(10, size=count).astype(np.int32),
        VALID: np.ones(count, np.float32),
        INDEX: np.arange(count, dtype=np.int32),
    }
    roles = {"boxes": "boxes", "objects": "box_labels", "ignored": "box_ignored"}
    spec = Spec(
        name="scenes",
        classes=tuple("abcdefghij"),
        inputs={"image": Field("image", (size, size, 1), "uint8")},
        targets={name: Field(role, batch[name].shape[1:], str(batch[name].dtype)) for name, role in roles.items()},  # type: ignore[arg-type]
        prepare=ImagePrepare(size=(size, size), channels=1),
        licence="",
        citation="",
        fingerprint="",
    )
    return spec, batch


if __name__ == "__main__":
    ask_for_huge_pages()
    set_xla_flags()
    script.run(main)
