"""Contact sheets of all augmentations: one PNG each, to see what a setting does before training with it.

Command: python experiments/studies/augmentation_sheets.py --out=sheets
Time: under a minute on two CPU cores

The sheets come from a walk over cnn_jax.augment, so a new augmentation has one by itself. Rows are crops of
scikit-learn's two embedded photographs (or made-up signals), the first column is the original, the others are draws.
For mixing ones the weight of the partner, the row above or below, stands over each draw.
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
from cnn_jax.data.spec import VALID, Field, Role
from cnn_jax.launch import cli, script
from cnn_jax.paths import written

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


def photographs(size: int = 64) -> np.ndarray:
    """Six crops [6, size, size, 3] in [0, 1] of the photographs of a temple and a flower."""
    places = [(0, 130, 60), (0, 230, 200), (0, 200, 420), (1, 60, 180), (1, 20, 60), (1, 150, 330)]
    pictures = load_sample_images().images
    cut = 3 * size  # then every third pixel's block mean
    crops = [pictures[which][top : top + cut, left : left + cut] for which, top, left in places]
    blocks = np.stack(crops).reshape(len(places), size, 3, size, 3, 3)
    return (blocks.mean(axis=(2, 4)) / 255).astype(np.float32)


def signals(length: int = 40) -> np.ndarray:
    """Six smooth bumps [6, length, 1]."""
    time, which = np.linspace(0, 1, length), np.arange(6)[:, None]
    wave = np.exp(-(((time - 0.5) / 0.2) ** 2)) * np.cos(2 * np.pi * (which / 2 + 1) * time + which)
    return wave[..., None].astype(np.float32)


def draw(augmentation: Augmentation, originals: np.ndarray, draws: int) -> dict[str, np.ndarray]:
    """`draws` results for each of the originals, as arrays [draws, examples, ...]."""
    seed = jax.random.key(SEED.value)
    keys = jax.vmap(lambda number: jax.random.fold_in(seed, number))(jnp.arange(draws * len(originals)))
    role: Role = "image" if originals.ndim == 4 else "signal"
    fields = {
        "image": Field(role, originals.shape[1:], "float32", (0.0, 1.0) if role == "image" else None),
        "label": Field("label", (), "int32"),
    }
    arrays = {
        "image": jnp.concatenate([originals] * draws),
        "label": jnp.tile(jnp.arange(len(originals)), draws),
        VALID: jnp.ones(draws * len(originals)),
    }
    result = jax.jit(augmentation)(keys, Batch(arrays, fields))
    return {name: np.asarray(value).reshape(draws, len(originals), *value.shape[1:]) for name, value in result.items()}


def sheet(title: str, originals: np.ndarray, drawn: dict[str, np.ndarray]) -> plt.Figure:
    """Rows are examples; columns the original and the draws."""
    columns = [originals, *drawn["image"]]
    figure, axes = plt.subplots(
        len(originals), len(columns), figsize=(1.1 * len(columns), 1.2 * len(originals) + 0.4), squeeze=False
    )
    for column, images in enumerate(columns):
        for row, image in enumerate(images):
            panel = axes[row, column]
            panel.set_xticks([])
            panel.set_yticks([])
            if image.ndim == 3:
                panel.imshow(image, vmin=0, vmax=1)
            else:
                panel.plot(image, linewidth=1)
                panel.set_ylim(-1.5, 1.5)
            if column and "mix_weight" in drawn:
                panel.set_title(f"{drawn['mix_weight'][column - 1, row]:.2f}", fontsize=7, pad=2)
        axes[0, column].set_title(axes[0, column].get_title() or ("original" if column == 0 else ""), fontsize=7, pad=2)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout(pad=0.3, rect=(0, 0, 1, 0.985))
    return figure


def main() -> None:
    found = dict(augmentations())
    unknown = set(ONLY.value) - set(found)
    if unknown:
        raise cli.UsageError(f"no augmentation {', '.join(unknown)}; there are: {', '.join(found)}")
    folder = written(OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ONLY.value or found:
        originals = photographs()
        try:
            drawn = draw(found[name], originals, DRAWS.value)
        except ValueError:  # not for images
            originals = signals()
            drawn = draw(found[name], originals, DRAWS.value)
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
