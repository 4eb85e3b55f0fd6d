"""The weights that a run begins with: found, checked against its model, and recorded in its folder."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict

from cnn_jax.config import Experiment
from cnn_jax.data.source import Source
from cnn_jax.data.spec import Spec, with_statistics
from cnn_jax.data.text import TextPrepare
from cnn_jax.inspect import models
from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.inspect.stages import BACKBONE, backbone_of, last_layer_paths, within_backbone
from cnn_jax.lookup import Function, describe, did_you_mean
from cnn_jax.models.variant import Preprocessing
from cnn_jax.paths import written
from cnn_jax.train import checkpoint, run_folder
from cnn_jax.train.predictor import make_model, stored_variables
from cnn_jax.weights import files, hub, package, ratios, vectors
from cnn_jax.weights.class_names import classes_of
from cnn_jax.weights.convert import Tensors, first_few, to_variables
from cnn_jax.weights.schemes import Scheme, best, count_classes


class Initial(NamedTuple):
    """What a run begins with.

    spec: of the data, with the mean and std that the weights were trained with.
    variables: by path, as 'params/stage1_block1/conv1/kernel'; the others are drawn. None for a run that goes on.
    record: what the run folder says of them; None where all are drawn.
    head: what became of the last layer, in words.
    """

    spec: Spec
    variables: Mapping[str, np.ndarray]
    record: dict[str, Any] | None
    head: str = ""


class Loaded(NamedTuple):
    """spec: with their normalisation. variables: by path. sha256: of their file.

    kept: the last layer; None where the weights have none, or are those of a detector's backbone, which `into` names.
    """

    spec: Spec
    variables: dict[str, np.ndarray]
    sha256: str
    kept: bool | None
    into: str = ""


def prepare(config: Experiment, spec: Spec, folder: Path, train: Source | None = None) -> Initial:
    """Reads `config.transfer.weights`, unless the run in `folder` has a checkpoint to go on from.

    train: the examples that the run learns from, for what is counted in them.

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
        spec, variables, sha256, kept, into = _reader_of(word, train)(config, spec, word)
    except ValueError as error:
        raise ValueError(f"transfer.weights = '{word}' for {describe(config.model.build)}: {error}") from None
    mean, std = spec.prepare.mean, spec.prepare.std
    part = {"part": config.transfer.part} if config.transfer.part else {}
    head = {"head": "kept" if kept else "new"} if kept is not None else {}
    head |= {"into": into} if into else {}
    record = {"weights": word, **part, **head, "sha256": sha256, "arrays": len(variables)}
    record |= {"mean": [*mean], "std": [*std]}
    if before and before["sha256"] != sha256:
        raise ValueError(
            f"the weights '{word}' have changed since the run in '{folder}' began: bring the old ones back, "
            "or start anew with --fresh"
        )
    said = "the weights are those of the backbone, all else is new" if into else _said(config, kept)
    return Initial(spec, variables, record, said)


def _reader_of(word: str, train: Source | None) -> Callable[[Experiment, Spec, str], Loaded]:
    if word.startswith(vectors.PREFIX):
        return _of_vectors
    if word == ratios.WORD and train is not None:
        return partial(_of_ratios, train)
    return _of_folder if written(word).is_dir() else _of_file


def _of_vectors(config: Experiment, spec: Spec, word: str) -> Loaded:
    """Vectors for the words of the vocabulary, in all tables of the model; all else is drawn."""
    prepare, tables, dim = _tables(config, spec)
    found, sha256 = vectors.table(word, prepare, dim, config.seed)
    return Loaded(spec, dict.fromkeys(tables, found), sha256, None)


def _of_ratios(train: Source, config: Experiment, spec: Spec, word: str) -> Loaded:
    """The same, of what the training texts say of their words."""
    prepare, tables, dim = _tables(config, spec)
    found = ratios.table(train, prepare, dim, config.seed)
    return Loaded(spec, dict.fromkeys(tables, found), hashlib.sha256(found.tobytes()).hexdigest(), None)


def _tables(config: Experiment, spec: Spec) -> tuple[TextPrepare, list[str], int]:
    """How texts are read, and the paths and width of the model's tables. Raises ValueError where there are none."""
    if not isinstance(spec.prepare, TextPrepare):
        raise ValueError("vectors of words are for models of texts")
    shapes = variable_shapes(make_model(config.model, config.compute.precision, spec), spec.input.shape)
    tables = [path for path in shapes if path.endswith("/embedding")]
    if not tables:
        raise ValueError("the model has no table of vectors")
    return spec.prepare, tables, shapes[tables[0]][-1]


def weights_file(word: str) -> Path:
    """The file that a path, hf:ORG/REPO or package:NAME means; it is fetched where necessary."""
    if word.startswith(hub.PREFIX):
        return hub.fetch(word)
    return package.find(word) if word.startswith(package.PREFIX) else written(word)


def _of_file(config: Experiment, spec: Spec, word: str) -> Loaded:
    """Published weights; the data is normalised as the variant says, else by its own statistics."""
    if config.transfer.part:
        raise ValueError(f"transfer.part = '{config.transfer.part}' is for run folders, not for files")
    path = weights_file(word)
    tensors, shape = files.read(path), spec.input.shape
    model = make_model(config.model, config.compute.precision, spec)
    build, scheme, into_backbone = _meant(config.model.build, model, shape, tensors)
    variant, *_ = models.variant_of(describe(build), build)
    how = variant.preprocessing
    if isinstance(how, Preprocessing) and spec.input.dtype == "uint8":
        spec = _normalised(spec, how.mean, how.std)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if into_backbone:
        part = build(classes=count_classes(build(classes=1), shape, tensors, scheme))
        variables = to_variables(part, shape, tensors, scheme.names, scheme.flattened)
        return Loaded(spec, _within(model, shape, flatten_dict(variables, sep="/")), sha256, None, BACKBONE)
    last = last_layer_paths(model, shape)
    theirs = classes_of(variant.task, count_classes(model, shape, tensors, scheme))
    kept = _is_kept(config, spec, theirs)
    variables = to_variables(model, shape, tensors, scheme.names, scheme.flattened, head="keep" if kept else "new")
    found = flatten_dict(variables, sep="/")
    loaded = {path: array for path, array in found.items() if kept or path not in last}
    return Loaded(spec, loaded, sha256, kept if last else None)


def _meant(
    build: Function, model: nn.Module, shape: tuple[int, ...], tensors: Tensors
) -> tuple[Function, Scheme, bool]:
    """What the tensors are weights of, the model or, where more of them fit, its backbone: what builds it, how they
    are named, and whether it is the backbone.

    Raises ValueError where no naming is known.
    """
    options, problems = [(build, model)], list[ValueError]()
    if backbone := backbone_of(model):
        options.append((model.backbone, backbone))
    found = []
    for number, (function, module) in enumerate(options):
        try:
            _, family, _ = models.variant_of(describe(function), function)
            matches, scheme = best(module, shape, tensors, family)
            found.append((matches, -number, function, scheme))
        except ValueError as error:
            problems.append(error)
    if not found:
        raise problems[-1]
    _, number, function, scheme = max(found, key=lambda option: option[:2])
    return function, scheme, number < 0


def _within(model: nn.Module, shape: tuple[int, ...], found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Variables of a backbone, or of a classifier with one, as those of the model around it.

    Raises ValueError where they are not all of the backbone's.
    """
    placed = {within_backbone(path): array for path, array in found.items()}
    wanted = {p: s for p, s in variable_shapes(model, shape).items() if p.split("/")[1] == BACKBONE}
    placed = {path: array for path, array in placed.items() if path in wanted}
    _check_arrays(wanted, placed)
    return placed


def _of_folder(config: Experiment, spec: Spec, word: str) -> Loaded:
    """The checkpoint of a run that was scored, or imported weights; the data is normalised as theirs was."""
    stored = stored_variables(written(word))
    read_as, ours = stored.spec.prepare, spec.prepare
    if isinstance(read_as, TextPrepare) and isinstance(ours, TextPrepare) and read_as.vocabulary != ours.vocabulary:
        raise ValueError(
            f"they are for another vocabulary ({len(read_as.vocabulary):,} and {len(ours.vocabulary):,} words): "
            "a run on texts goes on from a run on the same training texts"
        )
    spec = _normalised(spec, read_as.mean, read_as.std)
    found = part_of(stored.variables, config.transfer.part)
    model, shape = make_model(config.model, config.compute.precision, spec), spec.input.shape
    sha256 = hashlib.sha256(stored.proof.read_bytes()).hexdigest()
    if backbone_of(model) and not any(path.split("/")[1] == BACKBONE for path in found):
        return Loaded(spec, _within(model, shape, found), sha256, None, BACKBONE)
    last = last_layer_paths(model, shape)
    theirs = stored.spec.classes if last <= found.keys() else None  # a part may have no last layer
    kept = _is_kept(config, spec, theirs)
    loaded = {path: array for path, array in found.items() if kept or path not in last}
    wanted = variable_shapes(model, shape).items()
    _check_arrays({path: dimensions for path, dimensions in wanted if kept or path not in last}, loaded)
    return Loaded(spec, loaded, sha256, kept if last else None)


def part_of(variables: Mapping[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """The variables below a module, or in a collection that holds a whole model, as those of a model of their own.

    With "backbone", 'params/backbone/conv1/kernel' is 'params/conv1/kernel', and so in every collection. With
    "teacher", 'teacher/params/conv1/kernel' is, or 'teacher/conv1/kernel' where it has weights alone; and with
    "teacher/backbone" or "teacher/params/backbone" a module of that. "" takes all as they are.

    Raises ValueError where nothing lies there.
    """
    if not part:
        return dict(variables)
    first, found, words = part.partition("/")[0], dict(variables), part.split("/")
    if first != "params" and any(path.startswith(f"{first}/") for path in variables):
        found = {path.removeprefix(f"{first}/"): value for path, value in found.items() if path.startswith(f"{first}/")}
        if not any(path.startswith("params/") for path in found):
            found = {f"params/{path}": value for path, value in found.items()}
        words = words[1:]
    words = words[1:] if words[:1] == ["params"] else words
    below = {}
    for path, array in found.items():
        collection, *rest = path.split("/")
        if rest[: len(words)] == words:
            below["/".join([collection, *rest[len(words) :]])] = array
    if not below:
        prefix = f"{first}/" if found.keys() != variables.keys() else ""
        collections = {path.split("/")[0] for path in variables} - {"params"}
        known = {prefix + path.split("/")[1] for path in found} | collections
        raise ValueError(f"transfer.part = '{part}' is no part of them: {did_you_mean(part, known)}")
    return below


def _normalised(spec: Spec, mean: Sequence[float], std: Sequence[float]) -> Spec:
    if isinstance(spec.prepare, TextPrepare):  # which has none
        return spec
    if len(mean) != spec.input.shape[-1]:
        raise ValueError(
            f"they read {len(mean)} channels, the data has {spec.input.shape[-1]}: give the source channels={len(mean)}"
        )
    return with_statistics(spec, tuple(mean), tuple(std))


def _is_kept(config: Experiment, spec: Spec, theirs: Sequence[str] | None) -> bool:
    """Whether the last layer is taken over from weights for the classes `theirs`, None where they are not known."""
    head = config.transfer.head
    return head == "keep" or (head == "auto" and theirs is not None and tuple(theirs) == tuple(spec.classes))


def _said(config: Experiment, kept: bool | None) -> str:
    if kept is None or config.transfer.head == "probe":  # which says itself what it has fitted
        return ""
    why = f", as the weights are {'' if kept else 'not '}for the same classes" if config.transfer.head == "auto" else ""
    return f"the last layer is {'kept' if kept else 'new'}{why}"


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
