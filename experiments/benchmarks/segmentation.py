"""What segmentation costs beside PyTorch: a train step of U-Nets, and the classes of a large image, by windows.

Command: python experiments/benchmarks/segmentation.py
Time: 15 min on two CPU cores, which nothing else may use
Needs: pip install 'cnn_jax[bench]' (PyTorch); without it this project alone is timed

- A train step: bytes of a batch of grey images, cross entropy of 3 classes for each pixel, gradients, AdamW, float32.
- Windows: 2048 x 2048 pixels as bytes, windows of 512 half a window apart, 49 in all, Gaussian weights, and the class
  of each pixel. Here it is the task's own prediction, with `window=512`.

Both sides have the same networks with the same weights: their first loss must agree, and the classes of the image.
PyTorch
runs in a process of its own, with as many threads as there are cores, with arrays [B, C, H, W] and [B, H, W, C] in
memory, and with one and four windows at a time. What is fastest takes turns with this project, and a number is the
median.
"""

import importlib.util
import itertools
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from turns import Call, beside, medians, stepping, timed

from cnn_jax.devices import ask_for_huge_pages, set_xla_flags
from cnn_jax.inspect.table import table
from cnn_jax.launch import script

ROUNDS = flags.DEFINE_integer("rounds", 5, "how often each side is timed", lower_bound=1)
QUICK = flags.DEFINE_bool("quick", False, "tiny networks and images: to see that everything works")
CLASSES = 3
FORMATS = ("contiguous", "channels_last")


class Work(NamedTuple):
    """A U-Net and what it is given: `batch` images of `size` x `size` pixels; `window` 0 for a train step."""

    features: int
    levels: int
    size: int
    batch: int
    window: int = 0

    def said(self) -> str:
        windows = f"windows of {self.window}" if self.window else f"batch {self.batch}"
        return f"U-Net of {self.features} features, {self.size} x {self.size}, {windows}"


STEPS = [Work(16, 5, 128, 16), Work(16, 5, 256, 8), Work(64, 5, 128, 4), Work(64, 5, 256, 4)]
WINDOWS = [Work(16, 5, 2048, 1, 512)]
TINY_STEPS, TINY_WINDOWS = [Work(2, 2, 16, 2)], [Work(2, 2, 24, 1, 16)]


def main() -> None:
    torch = importlib.util.find_spec("torch") is not None
    if not torch:
        print("PyTorch is not installed: this project alone is timed (pip install 'cnn_jax[bench]')")
    rounds = 1 if QUICK.value else ROUNDS.value
    for what, works in (
        ("train step", TINY_STEPS if QUICK.value else STEPS),
        ("classes of an image", TINY_WINDOWS if QUICK.value else WINDOWS),
    ):
        print(compared(what, works, rounds, torch=torch), flush=True)


def compared(what: str, works: list[Work], rounds: int, *, torch: bool) -> str:
    """A table of the milliseconds of both sides."""
    rows = []
    for work in works:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "job.npz"
            ours, found = (predicting if work.window else training)(work, file)
            if not torch:
                (mine,) = medians(rounds, ours)
                rows.append((work.said(), f"{1000 * mine:.0f}", "–", "–", "–"))
                continue
            facts, asked = beside("segmentation_torch.py", {**work._asdict(), "classes": CLASSES, "file": str(file)})
            check(work, found, np.load(facts["found"]))
        how, theirs = fastest(work, asked)
        mine, other = medians(rounds, ours, theirs)
        rows.append((work.said(), f"{1000 * mine:.0f}", f"{1000 * other:.0f}", how, f"{other / mine:.2f}"))
    return "\n" + table((what, "ours, ms", "PyTorch, ms", "PyTorch's fastest", "PyTorch / ours"), rows)


def fastest(work: Work, asked: Any) -> tuple[str, Call]:
    """The way in which PyTorch takes the least time, by the second call of each."""
    modes = [f"{form}, {count} at a time" for form, count in itertools.product(FORMATS, (1, 4))]
    calls = {mode: asked(mode) for mode in (modes if work.window else FORMATS)}
    for call in calls.values():
        call()
    best = min(calls, key=lambda mode: calls[mode]())
    return best, calls[best]


def check(work: Work, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Raises Failed where the two sides do not compute the same."""
    if work.window and (ours == theirs).mean() < 0.999:
        raise script.Failed(
            f"{work.said()}: PyTorch finds other classes in {(ours != theirs).mean():.1%} of the pixels"
        )
    if not work.window and abs(ours - theirs) > 1e-3 * abs(ours):
        raise script.Failed(f"{work.said()}: the loss is {ours:.6f}, PyTorch's is {theirs:.6f}")


def training(work: Work, file: Path) -> tuple[Call, np.ndarray]:
    """A call of the train step, and the first loss; writes weights and batch for the other side to `file`."""
    from cnn_jax.data.spec import VALID
    from cnn_jax.train.run import fresh

    run, state, batch = assembled(work, file)
    placed = run.engine.place_batch({**batch, VALID: np.ones(work.batch, np.float32)})
    state, fetch = run.engine.step(state, placed)
    total, count = fetch()["loss"]
    del state
    return stepping(run, fresh(run), placed, 1), np.asarray(total / count)


def predicting(work: Work, file: Path) -> tuple[Call, np.ndarray]:
    """A call of the prediction of an image in memory, and its classes [B, H, W]; writes the same as `training`."""
    import jax

    from cnn_jax.data.spec import VALID
    from cnn_jax.train import mesh

    run, state, batch = assembled(work, file)
    variables = jax.device_put(run.engine.variables(state), jax.devices()[0])
    predict = mesh.forward(run.task.predict, run.spec.fields, jax.devices()[:1])  # one device, as the command has it
    image = {"image": batch["image"], VALID: np.ones(work.batch, np.float32)}

    def classes() -> np.ndarray:
        return np.asarray(predict(variables, image)["class_map"])

    return timed(classes), classes()


def assembled(work: Work, file: Path) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """A run of the work with its first state, and a batch: random pixels, and random classes."""
    import jax
    from flax.traverse_util import flatten_dict

    from cnn_jax.augment.compose import identity
    from cnn_jax.config import Data, Experiment, Model, Optim
    from cnn_jax.data.digits import digits
    from cnn_jax.models.unet import UNet
    from cnn_jax.tasks.segment import segment
    from cnn_jax.train.optim import adamw
    from cnn_jax.train.run import assemble, fresh
    from cnn_jax.train.schedules import constant

    draw, shape = np.random.default_rng(0), (work.batch, work.size, work.size)
    batch = {
        "image": draw.integers(256, size=(*shape, 1)).astype(np.uint8),
        "class_map": draw.integers(CLASSES, size=shape).astype(np.uint8),
    }
    config = Experiment(
        name="benchmark",
        data=Data(source=digits, batch_size=work.batch),
        model=Model(
            build=partial(UNet, features=work.features, levels=work.levels), task=partial(segment, window=work.window)
        ),
        optim=Optim(build=adamw, lr=1e-3, weight_decay=0.01, schedule=constant),
        augment=identity,
        duration="1000 steps",
        save_every="0 steps",
    )
    run = assemble(config, described(work), 1000)
    state = fresh(run)
    weights = flatten_dict(jax.device_get(state.params), sep="/")
    np.savez(file, **batch, **weights)
    return run, state, batch


def described(work: Work) -> Any:
    from cnn_jax.data.prepare import ImagePrepare
    from cnn_jax.data.spec import Field, Spec

    size = (work.size, work.size)
    return Spec(
        name="noise",
        classes=tuple("abcdefgh"[:CLASSES]),
        inputs={"image": Field("image", (*size, 1), "uint8")},
        targets={"class_map": Field("class_map", size, "uint8")},
        prepare=ImagePrepare(size=size, channels=1),
        licence="",
        citation="",
        fingerprint="",
    )


if __name__ == "__main__":
    ask_for_huge_pages()
    set_xla_flags()
    script.run(main)
