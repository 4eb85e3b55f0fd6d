"""What is explained: the logit of a class, a detected box, the region of a mask; as a score of what a model reads."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.batch import Batch, normalised
from cnn_jax.data.spec import BACKGROUND, VALID, Spec
from cnn_jax.data.text import PADDING
from cnn_jax.explain.program import entered
from cnn_jax.inspect.stages import BACKBONE
from cnn_jax.lookup import did_you_mean
from cnn_jax.ops.boxes import iou
from cnn_jax.tasks.detect import content_of
from cnn_jax.train.mesh import within_memory

Chosen = Mapping[str, jax.Array]  # what tells the target of each example from others, [B, ...] each
Logits = tuple[jax.Array, dict[str, jax.Array]]  # and the feature maps
Kind = Literal["input", "words", "spectrum"]
RAW = "raw"  # among what is chosen: what the model itself reads, [B, L] tokens or [B, L, C] samples
Scored = Callable[[Any, Chosen, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
SIDES = ("left", "top", "right", "bottom")


class Target(NamedTuple):
    """What is explained of a model.

    kind: what methods see. Of most models that is their input; of one that reads tokens their vectors [B, L, D], and of
      one that makes spectra of samples these, [B, T, F, C]: the model is cut there (`ops.entry`).
    enter: (variables, given) -> x, what methods see of examples.
    score: (variables, chosen, x) -> ([B], {layer: [B, ..., D]}), pure: with the first two given a layer score.
    likely: the same with a score in [0, 1], for methods that weigh by it; where there is none, `score` again.
    find: (variables, given, wanted) -> what tells the target of each example from others, and what it is called.
    layers: {name: [B, ..., D]}, the shapes for inputs like those it was made of, in the order of the network.
    """

    kind: Kind
    enter: Callable[[Any, "Read"], jax.Array]
    score: Scored
    likely: Scored
    find: Callable[[Any, "Read", str | None], tuple[Chosen, list[str]]]
    layers: dict[str, tuple[int, ...]]


class Read(NamedTuple):
    """B examples as the model reads them. x: [B, ...], normalised; content: [B, 4], where the pictures lie in it."""

    x: jax.Array
    content: jax.Array


def read(spec: Spec, inputs: Mapping[str, np.ndarray]) -> Read:
    """Examples as `data` makes them -> as the model reads them."""
    name = next(iter(spec.inputs))
    count = len(inputs[name])
    arrays = {key: jnp.asarray(array) for key, array in inputs.items()}
    batch = Batch({**arrays, VALID: jnp.ones(count)}, spec.inputs).scaled()
    x = normalised(batch[name], spec.prepare)
    return Read(x, content_of(batch, x) if x.ndim == 4 else jnp.zeros((count, 4)))


def target_of(model: nn.Module, variables: Any, spec: Spec, given: Read, side: str = "") -> Target:
    """What can be explained of a model, by what it says of inputs like `given`.

    `find` knows the target by `wanted`, and without it takes what the model is surest of. Of a classifier it is the
    name or number of a class. Of a detector the rank of a box, from 1, or the name of a class, whose surest box it is;
    with `side` that coordinate of it is explained in place of its score. Of a segmenter it is the name or number of a
    class, whose predicted pixels are the region; by default that of most pixels, background only where there is nothing
    else. `find` raises ValueError where there is no such target.

    Raises ValueError for a model that says nothing of the kind.
    """
    layers, shape = _outputs(model, variables, given)
    if hasattr(model, "detections"):
        return Target("input", _as_read, *_box(model, spec, side), layers)
    if side:
        raise ValueError(f"'{side}' is a coordinate of a box, and the model finds none: name a class alone")
    if isinstance(shape, tuple) and len(shape) == 2 and hasattr(shape[0], "shape"):
        rank, known = shape[0].ndim, shape[0].shape[-1] == len(spec.classes)
        if known and rank == 2:
            if _is_cut(model, variables, spec, given):
                return _within(model, spec, layers)
            whole = lambda variables, _, x: _logits(model, variables, x)  # noqa: E731
            return Target("input", _as_read, *_class(model, spec, whole), layers)
        if known and rank == given.x.ndim:
            return Target("input", _as_read, *_region(model, spec), layers)
    raise ValueError(
        f"{type(model).__name__} gives no logits of classes or pixels and no boxes: there is nothing that explain knows"
    )


def default_layer(target: Target, x: jax.Array) -> str:
    """The last feature map with extent, of an input like x; of a detector the last of its backbone.

    Of spectra one over time alone will do. Raises ValueError where there is none.
    """
    return last_with_extent(target.layers, (x.ndim, 3) if target.kind == "spectrum" else (x.ndim,))


def last_with_extent(layers: Mapping[str, tuple[int, ...]], ranks: Collection[int]) -> str:
    """The same, of feature maps {name: [B, ..., D]} that have one of the ranks."""
    found = [name for name, shape in layers.items() if len(shape) in ranks and max(shape[1:-1]) > 1]
    inside = [name for name in found if name.startswith(f"{BACKBONE}/")]
    if not found:
        raise ValueError("the model has no feature map with extent, which class activation maps need")
    return (inside or found)[-1]


def _outputs(model: nn.Module, variables: Any, given: Read) -> tuple[dict[str, tuple[int, ...]], Any]:
    """The shapes of the layers in the order of the network, and of what the model returns."""
    shapes: dict[str, tuple[int, ...]] = {}

    def run(variables: Any, given: Read) -> Any:
        output, layers = applied(model, variables, given.x, given.content)
        shapes.update({name: layer.shape for name, layer in layers.items()})  # as a result they would be sorted
        return output

    return shapes, jax.eval_shape(run, variables, given)


def applied(model: nn.Module, variables: Any, x: jax.Array, content: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
    """What the model returns, and its feature maps by name: of a detector what each of its parts returned."""
    if not hasattr(model, "detections"):
        output = model.apply(variables, x, train=False)
        return output, output[1] if isinstance(output, tuple) and isinstance(output[-1], dict) else {}
    parts = lambda module, method: method == "__call__" and len(module.path) == 1  # noqa: E731
    output, state = model.apply(
        variables, x, train=False, content=content, capture_intermediates=parts, mutable=["intermediates"]
    )
    layers: dict[str, jax.Array] = {}
    for part, calls in state.get("intermediates", {}).items():
        found = calls["__call__"][0]
        named = found if isinstance(found, dict) else {"": found}  # features in the network's order, not by name
        for name, value in named.items():
            for path, leaf in jax.tree.leaves_with_path(value):
                words = (part, name, jax.tree_util.keystr(path, simple=True, separator="/"))
                layers["/".join(filter(None, words))] = leaf
    return output, layers


def class_number(wanted: str, classes: tuple[str, ...]) -> int:
    """The class of that name or number. Raises ValueError, with the nearest name, where there is none."""
    if wanted in classes:
        return classes.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(classes):
        return int(wanted)
    near = [name for name in classes if wanted.lower() in name.lower()]
    if len(near) == 1:
        return classes.index(near[0])
    hint = f"{len(near)} classes have it in their names, as '{near[0]}'" if near else did_you_mean(wanted, classes)
    raise ValueError(f"there is no class '{wanted}' to explain: {hint}")


def _as_read(variables: Any, given: Read) -> jax.Array:
    return given.x


def _is_cut(model: nn.Module, variables: Any, spec: Spec, given: Read) -> bool:
    """Whether methods see something else than what the model reads. Raises ValueError where they could see nothing."""
    if spec.input.role not in ("tokens", "signal"):
        return False
    found: list[bool] = []
    jax.eval_shape(lambda variables, raw: found.append(_cut(model, variables, raw) is not None), variables, given.x)
    if spec.input.role == "tokens" and not found[0]:
        raise ValueError(
            f"{type(model).__name__} does not say what it makes of tokens, which have no derivative: "
            "mark their vectors with cnn_jax.ops.entry.entry(x)"
        )
    return found[0]


def _cut(model: nn.Module, variables: Any, raw: jax.Array) -> tuple[jax.Array, Callable[[jax.Array], Any]] | None:
    return entered(lambda raw: model.apply(variables, raw, train=False), raw)


def _within(model: nn.Module, spec: Spec, layers: dict[str, tuple[int, ...]]) -> Target:
    """A classifier that is cut where it says so."""
    words = spec.input.role == "tokens"

    def logits(variables: Any, chosen: Chosen, x: jax.Array) -> Logits:
        cut = _cut(model, variables, chosen[RAW])
        assert cut is not None
        output: Logits = cut[1](jnp.where(real_of(chosen)[..., None], x, 0) if words else x)  # padding stays padding
        return output

    def entry(variables: Any, raw: jax.Array) -> jax.Array:
        cut = _cut(model, variables, raw)
        assert cut is not None
        return cut[0]

    compiled = within_memory(jax.jit(entry))
    score, likely, of_class = _class(model, spec, logits)

    def find(variables: Any, given: Read, wanted: str | None) -> tuple[Chosen, list[str]]:
        chosen, said = of_class(variables, given, wanted)
        return {**chosen, RAW: given.x}, said

    kind: Kind = "words" if words else "spectrum"
    return Target(kind, lambda variables, given: compiled(variables, given.x), score, likely, find, layers)


def real_of(chosen: Chosen) -> jax.Array:
    """Which positions [B, L] of texts are words."""
    return chosen[RAW] != PADDING


Parts = tuple[Scored, Scored, Callable[[Any, Read, str | None], tuple[Chosen, list[str]]]]


def _class(model: nn.Module, spec: Spec, logits_of: Callable[[Any, Chosen, jax.Array], Logits]) -> Parts:
    several = any(field.role == "labels" for field in spec.targets.values())
    shares_of = jax.nn.sigmoid if several else jax.nn.softmax

    def score(likely: bool, variables: Any, chosen: Chosen, x: jax.Array) -> Logits:
        logits, features = logits_of(variables, chosen, x)
        logits = shares_of(logits) if likely else logits
        return jnp.take_along_axis(logits, chosen["class"][:, None], 1)[:, 0], features

    forward = within_memory(jax.jit(lambda variables, x: _logits(model, variables, x)[0]))

    def find(variables: Any, given: Read, wanted: str | None) -> tuple[Chosen, list[str]]:
        found = forward(variables, given.x)
        logits, shares = np.asarray(found), np.asarray(shares_of(found))
        labels = logits.argmax(-1) if wanted is None else np.full(len(logits), class_number(wanted, spec.classes))
        words = [
            f"the logit of '{spec.classes[k]}', {row[k]:.2f} (probability {p[k]:.3f}, place {1 + (row > row[k]).sum()})"
            for k, row, p in zip(labels, logits, shares, strict=True)
        ]
        return {"class": jnp.asarray(labels)}, words

    return partial(score, False), partial(score, True), find


def _logits(model: nn.Module, variables: Any, x: jax.Array) -> Logits:
    output: Any = model.apply(variables, x, train=False)
    return output


def _region(model: nn.Module, spec: Spec) -> Parts:
    """The mean logit over the pixels of a class: Vinogradova et al. 2020, arXiv:2002.11434."""

    def score(likely: bool, variables: Any, chosen: Chosen, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits, features = _logits(model, variables, x)
        logits = jax.nn.softmax(logits) if likely else logits
        share = chosen["region"] / chosen["region"].sum((1, 2), keepdims=True)
        one_hot = jax.nn.one_hot(chosen["class"], logits.shape[-1], dtype=logits.dtype)
        return ((logits * one_hot[:, None, None]).sum(-1) * share).sum((1, 2)), features

    forward = within_memory(jax.jit(lambda variables, x: _logits(model, variables, x)[0].argmax(-1)))

    def find(variables: Any, given: Read, wanted: str | None) -> tuple[Chosen, list[str]]:
        found = np.asarray(forward(variables, given.x))
        counts = np.stack([np.bincount(row.ravel(), minlength=len(spec.classes)) for row in found])
        objects = counts * [name != BACKGROUND for name in spec.classes]
        surest = np.where(objects.any(-1), objects.argmax(-1), counts.argmax(-1))  # all may be background
        labels = surest if wanted is None else np.full(len(found), class_number(wanted, spec.classes))
        for label, count in zip(labels, counts, strict=True):
            if not count[label]:
                said = ", ".join(f"'{spec.classes[k]}'" for k in np.argsort(-count)[:5] if count[k])
                raise ValueError(f"no pixel is said to be '{spec.classes[label]}': there are {said}")
        region = (found == labels[:, None, None]).astype(np.float32)
        words = [
            f"the mean logit of '{spec.classes[k]}' over the {row[k]:,} pixels said to be that"
            for k, row in zip(labels, counts, strict=True)
        ]
        return {"class": jnp.asarray(labels), "region": jnp.asarray(region)}, words

    return partial(score, False), partial(score, True), find


def _box(model: Any, spec: Spec, side: str) -> Parts:
    """Of all boxes of that class the one most like it, its score times their overlap: Petsiuk et al. 2021, D-RISE.

    So it stays the same object when the input changes. The overlap counts as it is, and has no derivative.
    """
    if side and side not in SIDES:
        raise ValueError(f"a box has no '{side}' to explain: {did_you_mean(side, SIDES)}")

    def score(likely: bool, variables: Any, chosen: Chosen, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        raw, features = applied(model, variables, x, chosen["content"])
        found = model.detections(raw, chosen["content"])
        overlap = jax.lax.stop_gradient(iou(chosen["box"][:, None], found.boxes))
        overlap *= found.labels == chosen["class"][:, None]
        best = (overlap * jax.lax.stop_gradient(found.scores)).argmax(-1)[:, None]
        value = found.boxes[..., SIDES.index(side)] if side and not likely else found.scores * overlap
        return jnp.take_along_axis(value, best, 1)[:, 0], features

    def boxes_of(variables: Any, given: Read) -> Any:
        return model.detections(applied(model, variables, given.x, given.content)[0], given.content)

    detect = within_memory(jax.jit(boxes_of))

    def find(variables: Any, given: Read, wanted: str | None) -> tuple[Chosen, list[str]]:
        found = jax.device_get(detect(variables, given))
        ranks = [_rank(wanted or "1", spec, labels) for labels in found.labels]
        boxes, labels, scores = (
            np.stack([row[k] for row, k in zip(rows, ranks, strict=True)])
            for rows in (found.boxes, found.labels, found.scores)
        )
        words = [
            f"{f'the {side} edge' if side else 'the score'} of box {k + 1}, '{spec.classes[label]}' {value:.2f} at "
            f"({', '.join(f'{edge:.0f}' for edge in box)})"
            for k, label, value, box in zip(ranks, labels, scores, boxes, strict=True)
        ]
        return {"box": jnp.asarray(boxes), "class": jnp.asarray(labels), "content": given.content}, words

    return partial(score, False), partial(score, True), find


def _rank(which: str, spec: Spec, labels: np.ndarray) -> int:
    """The place of a box among those found, from 0."""
    count = int((labels >= 0).sum())
    if not count:
        raise ValueError("nothing was found in the image, so there is no box to explain")
    if which.isdecimal() and which not in spec.classes:
        if not 1 <= int(which) <= count:
            raise ValueError(f"there is no box {which}: {count} were found, numbered from 1 by their scores")
        return int(which) - 1
    label = class_number(which, spec.classes)
    if label not in labels:
        said = ", ".join(f"'{spec.classes[k]}'" for k in dict.fromkeys(labels[labels >= 0].tolist()))
        raise ValueError(f"no '{spec.classes[label]}' was found in the image: there are {said}")
    return int((labels == label).argmax())
