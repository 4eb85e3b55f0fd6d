"""A folder of published weights: to `eval`, `predict` and transfer a predictor like any that was trained."""

from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from cnn_jax.data.objects import box_fields
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.sound import SoundPrepare
from cnn_jax.data.spec import Field, Spec, to_json
from cnn_jax.lookup import Function, describe
from cnn_jax.models.variant import Hearing, Variant
from cnn_jax.tasks.classify import classify
from cnn_jax.tasks.detect import detect
from cnn_jax.tasks.segment import segment
from cnn_jax.tasks.tag import tag
from cnn_jax.train import run_folder
from cnn_jax.train.state import Tree
from cnn_jax.weights import files
from cnn_jax.weights.published import Published

TASKS: dict[str, Function] = {"classify": classify, "tag": tag, "detect": detect, "segment": segment}


def targets_of(task: str, size: tuple[int, int]) -> dict[str, Field]:
    """What there is to know of images [H, W] beside them."""
    maps = {"class_map": Field("class_map", size, "uint8")}
    return {"classify": {"label": Field("label", (), "int32")}, "detect": box_fields(100), "segment": maps}[task]


def spec_of(name: str, variant: Variant, found: Published, classes: tuple[str, ...]) -> Spec:
    """What a variant with published weights reads and says."""
    if isinstance(found.images, Hearing):
        how = SoundPrepare(rate=found.images.rate, seconds=found.images.seconds)
        return Spec(
            name=name,
            classes=classes,
            inputs={"sound": Field("signal", (how.length, 1), "float32")},
            targets={"labels": Field("labels", (len(classes),), "uint8")},
            prepare=how,
            licence="",
            citation=variant.source,
            fingerprint=found.sha256,
            unit="sounds",
        )
    images, channels = found.images, variant.input_shape[-1]
    size = (images.size, images.size) if isinstance(images.size, int) else images.size
    prepare = ImagePrepare(
        size=size,
        resize=images.resize,
        multiple=images.multiple,
        crop=images.crop,
        interpolation=images.interpolation,
        channels=channels,
        mean=images.mean,
        std=images.std,
    )
    shape = (*prepare.largest, channels)
    image = Field("image", shape, "float32", (0.0, 1.0)) if images.interpolation == "sampled" else None
    inputs = {"image": image or Field("image", shape, "uint8")}
    if variant.task == "detect":
        inputs["placement"] = Field("placement", (6,), "float32")
    return Spec(
        name=name,
        classes=classes,
        inputs=inputs,
        targets=targets_of(variant.task, (shape[0], shape[1])),
        prepare=prepare,
        licence="",
        citation=variant.source,
        fingerprint=found.sha256,
    )


def create(folder: Path, model: Function, task: Function, variables: Tree, spec: Spec) -> None:
    """Writes the folder of a `model` for a `task` with `variables`, which reads what `spec` describes.

    Raises ValueError where the folder is not empty or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"'{folder}' is not empty: choose another --workdir")
    arrays = {path: np.asarray(array) for path, array in flatten_dict(variables, sep="/").items()}
    with run_folder.opened(folder):
        files.write(folder / run_folder.VARIABLES, arrays)
        run_folder.write_json(folder / run_folder.DATA, to_json(spec))
        run_folder.write_json(folder / run_folder.VERSIONS, run_folder.versions())
        about = {"model": describe(model), "task": describe(task)}
        run_folder.write_json(folder / run_folder.PREDICTOR, about)  # last: with it the folder is a predictor
