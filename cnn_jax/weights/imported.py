"""A folder of published weights: to `eval`, `predict` and transfer a predictor like any that was trained."""

from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from cnn_jax.data.spec import Spec, to_json
from cnn_jax.lookup import Function, describe
from cnn_jax.tasks.classify import classify
from cnn_jax.train import run_folder
from cnn_jax.train.state import Tree
from cnn_jax.weights import files


def create(folder: Path, model: Function, variables: Tree, spec: Spec) -> None:
    """Writes the folder of a classifier `model` with `variables`, which reads what `spec` describes.

    Raises ValueError where the folder is not empty or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"'{folder}' is not empty: choose another --workdir")
    arrays = {path: np.asarray(array) for path, array in flatten_dict(variables, sep="/").items()}
    with run_folder.opened(folder):
        files.write(folder / run_folder.VARIABLES, arrays)
        run_folder.write_json(folder / run_folder.DATA, to_json(spec))
        run_folder.write_json(folder / run_folder.VERSIONS, run_folder.versions())
        about = {"model": describe(model), "task": describe(classify)}
        run_folder.write_json(folder / run_folder.PREDICTOR, about)  # last: with it the folder is a predictor
