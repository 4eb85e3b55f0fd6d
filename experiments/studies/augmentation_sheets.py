"""Contact sheets of all augmentations: one PNG each, to see what a setting does before training with it.

Command: python experiments/studies/augmentation_sheets.py --out=sheets
Time: under a minute on two CPU cores

The sheets come from a walk over cnn_jax.augment, so a new augmentation has one by itself. Rows are examples, the first
column is the original, the others are draws. What changes boxes is shown on scenes, shapes composed on crops of
scikit-learn's two embedded photographs, with a box around each, of the colour of its class, dotted where the object is
ignored, and with the outlines of the map of classes in white, which is also laid over what does not count there. The
rest is shown on the photographs, or on made-up signals. For mixing ones the weight of the partner, the row above or
below, stands over each draw.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from absl import flags
from sklearn.datasets import load_sample_images

import cnn_jax.augment
from cnn_jax.augment.draw import Augmentation
from cnn_jax.batch import Batch
from cnn_jax.data.composed import Item, compose
from cnn_jax.data.spec import IGNORED, VALID, Field
from cnn_jax.launch import cli, script
from cnn_jax.paths import written
from cnn_jax.report.maps import overlaid

matplotlib.use("Agg")
import matplotlib.pyplot as plt

OUT = flags.DEFINE_string("out", "sheets", "folder the sheets are written to")
ONLY = flags.DEFINE_list("only", [], "names of the augmentations to draw; all by default")
DRAWS = flags.DEFINE_integer("draws", 9, "draws per example", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "seed of the draws")


def augmentations() -> Iterator[tuple[str, Augmentation]]:
    """Every public function of the package whose first two parameters are keys and batch."""
    for entry in pkgutil.walk_packages(cnn_jax.augment.__path__, "cnn_jax.augment."):
        for name, value in vars(importlib.import_module(entry.name)).items():
            if inspect.isfunction(value) and value.__module__ == entry.name and not name.startswith("_"):
                if list(inspect.signature(value).parameters)[:2] == ["keys", "batch"]:
                    yield name, value


Examples = dict[str, np.ndarray]  # arrays [EXAMPLES, ...] by what their role is called
EXAMPLES, SHAPES = 8, 4


def photographs() -> Examples:
    """Crops of the photographs of a temple and a flower, each of a class of its own."""
    return {"image": crops(64, 3), "label": np.arange(EXAMPLES, dtype=np.int32)}


def crops(size: int, step: int) -> np.ndarray:
    """Eight crops [8, size, size, 3] in [0, 1] of the photographs, of every `step` pixels the mean."""
    places = [
        (0, 130, 60),
        (0, 230, 200),
        (0, 200, 420),
        (0, 60, 300),
        (1, 60, 180),
        (1, 20, 60),
        (1, 150, 330),
        (1, 220, 90),
    ]
    pictures = load_sample_images().images
    cut = step * size
    found = np.stack([pictures[which][top : top + cut, left : left + cut] for which, top, left in places])
    blocks = found.reshape(len(places), size, step, size, step, 3)
    return (blocks.mean(axis=(2, 4)) / 255).astype(np.float32)


def scenes(size: int = 96) -> Examples:
    """Discs, rings, triangles and bars of four colours on crops of the photographs, with boxes and a class map."""
    random = np.random.default_rng(SEED.value)
    found: Examples = {
        "image": crops(size, 2),
        "boxes": np.zeros((EXAMPLES, SHAPES, 4), np.float32),
        "box_labels": np.full((EXAMPLES, SHAPES), -1, np.int32),
        "box_ignored": np.zeros((EXAMPLES, SHAPES), np.uint8),
        "class_map": np.zeros((EXAMPLES, size, size), np.uint8),
    }
    for example in range(EXAMPLES):
        items = [
            shape(int(random.integers(4)), int(random.integers(12, 40))) for _ in range(random.integers(1, SHAPES + 1))
        ]
        scene, _ = compose(random, (found["image"][example] * 255).astype(np.uint8), items, 0.2)
        rows = len(scene.labels)
        found["image"][example] = scene.image / np.float32(255)
        found["boxes"][example, :rows], found["box_labels"][example, :rows] = scene.boxes, scene.labels
        found["box_ignored"][example, :rows] = scene.visible < 0.25
        found["class_map"][example] = np.append(0, scene.labels + 1)[scene.instances]
    return found


def shape(label: int, size: int) -> Item:
    """A shape of a class, `size` pixels high and wide; a bar is a third as high."""
    y, x = (np.indices((size, size)) + 0.5) / size * 2 - 1
    away = np.hypot(y, x)
    opaque = (away < 1, (away < 1) & (away > 0.6), np.abs(x) < (y + 1) / 2, np.abs(y) < 1 / 3)[label]
    opaque = opaque[opaque.any(axis=1)]
    colour = np.uint8(np.round(np.array(COLOURS[label]) * 255))
    return Item(np.broadcast_to(colour, (*opaque.shape, 3)), opaque, label)


COLOURS = ((0.9, 0.2, 0.2), (0.2, 0.85, 0.3), (0.3, 0.5, 1.0), (1.0, 0.85, 0.2))
# Of the classes of a map: white at their borders, and the faintest trace of it within.
OUTLINES = np.full((256, 4), (255, 255, 255, 1), np.uint8)
OUTLINES[0, 3], OUTLINES[IGNORED, 3] = 0, 160


def signals(length: int = 40) -> Examples:
    """Smooth bumps, each of a class of its own."""
    time, which = np.linspace(0, 1, length), np.arange(EXAMPLES)[:, None]
    wave = np.exp(-(((time - 0.5) / 0.2) ** 2)) * np.cos(2 * np.pi * (which / 2 + 1) * time + which)
    return {"signal": wave[..., None].astype(np.float32), "label": np.arange(EXAMPLES, dtype=np.int32)}


def drawn_on(augmentation: Augmentation, draws: int) -> tuple[Examples, Examples]:
    """The examples that show best what an augmentation does, and draws of it, [draws, EXAMPLES, ...]."""
    for make in (scenes, photographs, signals):
        originals = make()
        try:
            drawn = draw(augmentation, originals, draws)
        except ValueError:  # not for such examples
            continue
        if "boxes" not in originals or not np.array_equal(drawn["boxes"][0], originals["boxes"]):
            return originals, drawn
    raise ValueError("it takes neither images nor signals")


def draw(augmentation: Augmentation, originals: Examples, draws: int) -> Examples:
    """`draws` results for each of the originals, as arrays [draws, EXAMPLES, ...]."""
    seed = jax.random.key(SEED.value)
    keys = jax.vmap(lambda number: jax.random.fold_in(seed, number))(jnp.arange(draws * EXAMPLES))
    fields: dict[str, Field] = {
        name: Field(name, array.shape[1:], str(array.dtype), (0.0, 1.0) if name == "image" else None)  # type: ignore[arg-type]
        for name, array in originals.items()
    }
    arrays = {name: jnp.concatenate([array] * draws) for name, array in originals.items()}
    result = jax.jit(augmentation)(keys, Batch({**arrays, VALID: jnp.ones(draws * EXAMPLES)}, fields))
    return {name: np.asarray(value).reshape(draws, EXAMPLES, *value.shape[1:]) for name, value in result.items()}


def sheet(title: str, originals: Examples, drawn: Examples) -> plt.Figure:
    """Rows are examples; columns the original and the draws."""
    shown = "image" if "image" in originals else "signal"
    columns = [originals, *({name: array[k] for name, array in drawn.items()} for k in range(len(drawn[shown])))]
    figure, axes = plt.subplots(
        EXAMPLES, len(columns), figsize=(1.1 * len(columns), 1.2 * EXAMPLES + 0.4), squeeze=False
    )
    for column, examples in enumerate(columns):
        for row, array in enumerate(examples[shown]):
            panel = axes[row, column]
            panel.set_xticks([])
            panel.set_yticks([])
            if shown == "signal":
                panel.plot(array, linewidth=1)
                panel.set_ylim(-1.5, 1.5)
            else:
                picture = overlaid(array, examples["class_map"][row], OUTLINES) if "class_map" in examples else array
                panel.imshow(picture, vmin=0, vmax=1, extent=(0, array.shape[1], array.shape[0], 0))
            if "boxes" in examples:
                with_boxes(panel, *(examples[name][row] for name in ("boxes", "box_labels", "box_ignored")))
            if "mix_weight" in examples:
                panel.set_title(f"{examples['mix_weight'][row]:.2f}", fontsize=7, pad=2)
    axes[0, 0].set_title("original", fontsize=7, pad=2)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout(pad=0.3, rect=(0, 0, 1, 0.985))
    return figure


def with_boxes(panel: plt.Axes, boxes: np.ndarray, labels: np.ndarray, ignored: np.ndarray) -> None:
    """Boxes [N, 4] of the colours of their classes, dashed where they are ignored."""
    for (left, top, right, bottom), label, mark in zip(boxes, labels, ignored, strict=True):
        if label >= 0:
            style = {"edgecolor": COLOURS[label], "linestyle": ":" if mark else "-"}
            panel.add_patch(plt.Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=1, **style))


def main() -> None:
    found = dict(augmentations())
    unknown = set(ONLY.value) - set(found)
    if unknown:
        raise cli.UsageError(f"no augmentation {', '.join(unknown)}; there are: {', '.join(found)}")
    folder = written(OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ONLY.value or found:
        originals, drawn = drawn_on(found[name], DRAWS.value)
        settings = list(inspect.signature(found[name]).parameters.values())[2:]
        title = f"{name}({', '.join(f'{setting.name}={_short(setting.default)}' for setting in settings)})"
        figure = sheet(title, originals, drawn)
        figure.savefig(folder / f"{name}.png", dpi=100)
        plt.close(figure)
        print(folder / f"{name}.png")


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(_short(part) for part in value) + ")"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    script.run(main)
