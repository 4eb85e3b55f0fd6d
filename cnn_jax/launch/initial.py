"""The weights that a run begins with: found, checked against its model, and recorded in its folder."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict

from cnn_jax.config import Experiment
from cnn_jax.data.source import Spec
from cnn_jax.inspect import models
from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.inspect.stages import CLASSIFIER, depths
from cnn_jax.launch import run_folder
from cnn_jax.lookup import describe
from cnn_jax.train import checkpoint
from cnn_jax.train.run import make_model
from cnn_jax.weights import files, hub, package
from cnn_jax.weights.convert import first_few, to_variables
from cnn_jax.weights.schemes import choose


class Initial(NamedTuple):
    """What a run begins with.

    spec: of the data, with the mean and std that the weights were trained with.
    variables: by path, as 'params/stage1_block1/conv1/kernel'; the others are drawn. None for a run that goes on.
    record: what the run folder says of them; None where all are drawn.
    """

    spec: Spec
    variables: Mapping[str, np.ndarray]
    record: dict[str, Any] | None


def prepare(config: Experiment, spec: Spec, folder: Path) -> Initial:
    """Reads `config.transfer.weights`, unless the run in `folder` has a checkpoint to go on from.

    Raises ValueError or FileNotFoundError, in one line, for weights that are damaged, foreign, or of another model or
    number of classes, and where they have changed since the run began. Nothing is written.
    """
    word = config.transfer.weights
    if not word:
        return Initial(spec, {}, None)
    before = run_folder.read_json(folder / run_folder.WEIGHTS) if (folder / run_folder.WEIGHTS).is_file() else None
    if before and checkpoint.newest_good(folder / run_folder.CHECKPOINTS) is not None:
        return Initial(_normalised(spec, before["mean"], before["std"]), {}, before)
    try:
        spec, variables, sha256 = (_of_run if Path(word).is_dir() else _of_file)(config, spec, word)
    except ValueError as error:
        raise ValueError(f"transfer.weights = '{word}' for {describe(config.model.build)}: {error}") from None
    record = {"weights": word, "sha256": sha256, "arrays": len(variables), "mean": [*spec.mean], "std": [*spec.std]}
    if before and before["sha256"] != sha256:
        raise ValueError(
            f"the weights '{word}' have changed since the run in '{folder}' began: bring the old ones back, "
            "or start anew with --fresh"
        )
    return Initial(spec, variables, record)


def weights_file(word: str) -> Path:
    """The file that a path, hf:ORG/REPO or package:NAME means; it is fetched where necessary."""
    if word.startswith(hub.PREFIX):
        return hub.fetch(word)
    return package.find(word) if word.startswith(package.PREFIX) else Path(word)


def _of_file(config: Experiment, spec: Spec, word: str) -> tuple[Spec, dict[str, np.ndarray], str]:
    """Published weights; the data is normalised as the variant says, else by its own statistics."""
    text = describe(config.model.build)
    variant, family, _ = models.variant_of(text, config.model.build)
    path = weights_file(word)
    tensors = files.read(path)
    if variant.preprocessing and spec.dtype == "uint8":
        spec = _normalised(spec, variant.preprocessing.mean, variant.preprocessing.std)
    model = make_model(config, spec)
    scheme = choose(model, spec.shape, tensors, family)
    new = _new(config, spec)
    variables = to_variables(model, spec.shape, tensors, scheme.names, scheme.flattened, head="new" if new else "keep")
    loaded = {path: array for path, array in flatten_dict(variables, sep="/").items() if path not in new}
    return spec, loaded, hashlib.sha256(path.read_bytes()).hexdigest()


def _of_run(config: Experiment, spec: Spec, word: str) -> tuple[Spec, dict[str, np.ndarray], str]:
    """The last checkpoint of a run; the data is normalised as that run's was."""
    folder = Path(word)
    if not (folder / run_folder.CONFIG).is_file():
        raise ValueError(f"it is not a run folder: there is no {run_folder.CONFIG} in it")
    checkpoints = folder / run_folder.CHECKPOINTS
    step = run_folder.checkpoint_step(checkpoints, "last")
    data = run_folder.read_json(folder / run_folder.DATA)
    try:
        spec = _normalised(spec, data["mean"], data["std"])
    except KeyError as error:
        raise ValueError(f"'{folder / run_folder.DATA}' is damaged: it has no {error}") from None
    found = flatten_dict(checkpoint.restore_variables(checkpoints, step), sep="/")
    new = _new(config, spec)
    loaded = {path: array for path, array in found.items() if path not in new}
    wanted = variable_shapes(make_model(config, spec), spec.shape)
    _check_arrays({path: shape for path, shape in wanted.items() if path not in new}, loaded)
    return spec, loaded, hashlib.sha256((checkpoints / f"{step}.sha256").read_bytes()).hexdigest()


def _normalised(spec: Spec, mean: Sequence[float], std: Sequence[float]) -> Spec:
    if len(mean) != spec.shape[-1]:
        raise ValueError(
            f"they read {len(mean)} channels, the data has {spec.shape[-1]}: set --config.data.channels={len(mean)}"
        )
    return dataclasses.replace(spec, mean=tuple(mean), std=tuple(std))


def _new(config: Experiment, spec: Spec) -> set[str]:
    """Paths of the variables that are drawn although there are weights: those of a new last layer."""
    found = depths(make_model(config, spec), spec.shape)
    return {path for path, stage in found.items() if stage == CLASSIFIER and config.transfer.head == "new"}


def _check_arrays(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, np.ndarray]) -> None:
    missing, left = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    parts = [f"missing: {first_few(missing)}"] * bool(missing) + [f"left over: {first_few(left)}"] * bool(left)
    if parts:
        raise ValueError(f"they are of another model ({'; '.join(parts)})")
    other = [
        f"{path} is {list(found[path].shape)}, not {list(shape)}"
        for path, shape in wanted.items()
        if found[path].shape != shape
    ]
    if other:
        raise ValueError(
            f"they are of another model or for other classes ({first_few(other)}); "
            "transfer.head=new draws a last layer for any classes"
        )
