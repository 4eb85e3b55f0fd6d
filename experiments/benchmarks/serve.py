"""What evaluation and prediction cost over the bare forward pass, and how long one image takes beside PyTorch.

Command: python experiments/benchmarks/serve.py
Time: 4 min on two CPU cores, which nothing else may use
Needs: pip install 'cnn_jax[bench]' (PyTorch); without it this project alone is timed

- A split: `train.evaluate.evaluate` over images of bytes in memory, with all its scores, and `train.predictor.predict`
  over them, against the compiled prediction of a batch that lies on the devices, as often as there are batches.
- One image of 224 x 224 bytes, as `predict` computes it: on one device that uses all cores. PyTorch has the same
  network, eager in inference mode, as many threads as cores, and the faster of both memory formats.

All take turns, and a number is the median over rounds.
"""

import importlib.util
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from turns import Call, beside, medians, timed

from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import ArraySource
from cnn_jax.data.spec import VALID, Field, Spec
from cnn_jax.devices import ask_for_huge_pages, set_xla_flags
from cnn_jax.inspect.table import table
from cnn_jax.launch import script
from cnn_jax.models.cifar_resnet import resnet20
from cnn_jax.models.efficientnet import efficientnet_lite0
from cnn_jax.models.mnist_cnn import mnist_cnn
from cnn_jax.models.resnet import resnet50
from cnn_jax.tasks.classify import classify
from cnn_jax.train.evaluate import evaluate
from cnn_jax.train.predictor import Predictor, compiler, predict

ROUNDS = flags.DEFINE_integer("rounds", 7, "how often each side is timed", lower_bound=1)
QUICK = flags.DEFINE_bool("quick", False, "a few small images: to see that everything works")
STEPS = 10  # images of a call
FORMATS = ("contiguous", "channels_last")


class Split(NamedTuple):
    """`batches` batches of `batch` images of `shape`."""

    build: Any
    shape: tuple[int, int, int]
    classes: int
    batch: int
    batches: int


SPLITS = {
    "small CNN": Split(mnist_cnn, (28, 28, 1), 10, 128, 64),
    "ResNet-20": Split(resnet20, (32, 32, 3), 10, 128, 16),
    "ResNet-50": Split(resnet50, (224, 224, 3), 1000, 8, 8),
}
ONE = {"ResNet-50": resnet50, "EfficientNet-Lite0": efficientnet_lite0}


def main() -> None:
    torch = importlib.util.find_spec("torch") is not None
    if not torch:
        print("PyTorch is not installed: this project alone is timed (pip install 'cnn_jax[bench]')")
    rounds = 1 if QUICK.value else ROUNDS.value
    splits = {name: split._replace(batches=2) if QUICK.value else split for name, split in SPLITS.items()}
    rows = [split_row(name, split, rounds) for name, split in splits.items()]
    head = ("split", "bare forward pass, ms", "evaluation / bare", "prediction / bare")
    print(table(head, rows), flush=True)
    side = 32 if QUICK.value else 224
    rows = [one_row(name, build, side, rounds, torch=torch) for name, build in ONE.items()]
    print(table(("one image", "this project, ms", "PyTorch, ms", "PyTorch / this project"), rows))


def split_row(name: str, split: Split, rounds: int) -> tuple[str, ...]:
    """A line of the first table."""
    count = split.batch * split.batches
    predictor, image = made(split.build, split.shape, split.classes, count, jax.devices())
    label = np.random.default_rng(1).integers(split.classes, size=count, dtype=np.int32)
    source = ArraySource({"image": image, "label": label}, predictor.spec)
    bare = predictor.compiled(predictor.task.predict)
    batch = {"image": image[: split.batch], VALID: np.ones(split.batch, np.float32)}

    def forwards() -> Any:
        before = now = bare(predictor.variables, batch)
        for _ in range(split.batches - 1):  # as in a loop of training, at most two are under way
            before, now = now, bare(predictor.variables, batch)
            jax.block_until_ready(before)
        return now

    times = medians(
        rounds,
        timed(forwards),
        timed(lambda: evaluate(predictor, source, split.batch).numbers["loss"].value),
        timed(lambda: predict(predictor, {"image": image}, split.batch)),
    )
    said = f"{name}, {count:,} images in batches of {split.batch}"
    return said, f"{1000 * times[0]:.0f}", *(f"{time / times[0]:.3f}" for time in times[1:])


def one_row(name: str, build: Any, side: int, rounds: int, *, torch: bool) -> tuple[str, ...]:
    """A line of the second table. Raises Failed where PyTorch's network is another."""
    predictor, image = made(build, (side, side, 3), 1000, 1, jax.devices()[:1])

    calls: list[Call] = [timed(lambda: [predict(predictor, {"image": image}, 1) for _ in range(STEPS)])]
    if torch:
        facts, asked = beside("serve_torch.py", {"net": name, "side": side})
        params = sum(leaf.size for leaf in jax.tree.leaves(predictor.variables["params"]))
        if facts["params"] != params:
            raise script.Failed(f"{name}: PyTorch's network has {facts['params']:,} parameters, this one {params:,}")
        calls += [asked(form, STEPS) for form in FORMATS]
    # The first call of two in a row does not count: threads of the other side still spin for work.
    turn, *theirs = medians(rounds, *calls)
    mine = turn / STEPS
    if not theirs:
        return name, f"{1000 * mine:.1f}", "–", "–"
    return name, f"{1000 * mine:.1f}", f"{1000 * min(theirs):.1f}", f"{min(theirs) / mine:.2f}"


def made(
    build: Any, shape: tuple[int, int, int], classes: int, count: int, devices: list[Any]
) -> tuple[Predictor, np.ndarray]:
    """A predictor with new weights, and `count` images of random bytes."""
    image = np.random.default_rng(0).integers(256, size=(count, *shape), dtype=np.uint8)
    spec = Spec(
        name="noise",
        classes=tuple(map(str, range(classes))),
        inputs={"image": Field("image", shape, "uint8")},
        targets={"label": Field("label", (), "int32")},
        prepare=ImagePrepare(mean=(0.5,) * shape[-1], std=(0.3,) * shape[-1]),
        licence="",
        citation="",
        fingerprint="0" * 64,
    )
    model = build(classes=classes)
    task = classify(model, spec)
    variables = jax.jit(task.init)(jax.random.key(0))
    return Predictor(spec, model, task, variables, compiler(spec, devices, "auto"), len(devices)), image


if __name__ == "__main__":
    ask_for_huge_pages()
    set_xla_flags()
    script.run(main)
