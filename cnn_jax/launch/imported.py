"""A run folder made of published weights: to `eval` and `predict` it is one that was trained.

Besides the files of `cnn_jax.launch.run_folder` it has preprocessing.json, which says how images are brought to the
size that the weights were published for.
"""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np

from cnn_jax import config as configuration
from cnn_jax.augment.compose import identity
from cnn_jax.config import Data, Experiment, Model, Optim
from cnn_jax.data.source import Example, Source, Spec
from cnn_jax.launch import run_folder
from cnn_jax.lookup import Function
from cnn_jax.models.variant import Preprocessing
from cnn_jax.tasks.classify import classify
from cnn_jax.train import state
from cnn_jax.train.checkpoint import Checkpoints
from cnn_jax.train.optim import sgd
from cnn_jax.train.run import assemble
from cnn_jax.train.schedules import constant
from cnn_jax.train.state import Tree

SOURCE = "imported"  # stands for the data, of which an imported run knows nothing
PREPROCESSING = "preprocessing.json"


def create(folder: Path, name: str, model: Function, variables: Tree, spec: Spec, preprocessing: Preprocessing) -> None:
    """Writes the run folder of `model`, with `variables` as its only checkpoint, of step 0.

    Raises ValueError where the folder is not empty or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"'{folder}' is not empty: choose another --workdir")
    config = Experiment(
        name=name,
        data=Data(
            source=SOURCE,
            image_size=resized(preprocessing),
            channels=spec.shape[-1],
            interpolation=preprocessing.interpolation,
            validation=0,
            eval_batch_size=64,
        ),
        model=Model(build=model, task=classify),
        optim=Optim(build=partial(sgd, momentum=0.0), lr=0.1, schedule=constant),
        augment=identity,
        duration="1 steps",
    )
    configuration.check(config)
    run = assemble(config, spec, 1)
    whole = run.engine.whole(run.engine.place(state.create(variables, run.optimizer, ema=False, loss_scale=False)))
    about = {"config": configuration.to_json(config), "versions": run_folder.versions(), "data": spec.fingerprint}
    with run_folder.opened(folder):
        checkpoints = Checkpoints(folder / run_folder.CHECKPOINTS, keep=1)
        try:
            checkpoints.save(0, whole, about, None)
            checkpoints.finish()
        finally:
            checkpoints.close()
        run_folder.write_json(folder / PREPROCESSING, dataclasses.asdict(preprocessing))
        run_folder.write_json(folder / run_folder.DATA, {"examples": 1, **dataclasses.asdict(spec)})
        run_folder.write_json(folder / run_folder.VERSIONS, about["versions"])
        run_folder.write_json(folder / run_folder.CONFIG, about["config"])  # last: with it the folder is a run folder


def resized(preprocessing: Preprocessing) -> int:
    """Length in pixels to which the short side of an image is brought before its centre is cut out."""
    return round(preprocessing.size / preprocessing.crop)


def load_preprocessing(folder: Path) -> Preprocessing | None:
    """That of an imported run; None for a trained one."""
    if not (folder / PREPROCESSING).is_file():
        return None
    try:
        return Preprocessing(**run_folder.read_json(folder / PREPROCESSING))
    except TypeError as error:
        raise ValueError(f"'{folder / PREPROCESSING}' is damaged: {error}") from None


def centre(images: np.ndarray, size: int) -> np.ndarray:
    """The middle [..., size, size, C] of images [..., H, W, C] that are no smaller."""
    top, left = ((length - size) // 2 for length in images.shape[-3:-1])
    return images[..., top : top + size, left : left + size, :]


@dataclasses.dataclass(eq=False)
class Cropped:
    """The central squares of the images of another source."""

    source: Source
    size: int

    def __post_init__(self) -> None:
        spec = self.source.spec
        self.spec = dataclasses.replace(spec, shape=(self.size, self.size, spec.shape[-1]))

    @property
    def labels(self) -> np.ndarray:
        return self.source.labels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        example = self.source[index]
        return {**example, "image": centre(example["image"], self.size)}

    def batch(self, indices: np.ndarray) -> Example:
        examples = self.source.batch(indices)
        return {**examples, "image": centre(examples["image"], self.size)}
