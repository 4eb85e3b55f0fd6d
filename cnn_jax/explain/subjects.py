"""Examples as the methods of attribution are given them, batch by batch, and their maps as pure functions."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.prepare import Prepare
from cnn_jax.data.spelling import spelled_out
from cnn_jax.data.text import TextPrepare
from cnn_jax.explain import targets
from cnn_jax.explain.attribution import positions
from cnn_jax.explain.methods import Asked, Method
from cnn_jax.explain.references import drawn_references, reference
from cnn_jax.explain.segments import segments
from cnn_jax.train.predictor import Predictor

BATCH = 16
PARTS = 50  # segments of KernelSHAP and LIME, about
REFERENCES = 16  # of the methods that take the mean over several


class Subject(NamedTuple):
    """A batch of examples and all that methods are given; rows: of the examples, the last one repeated.

    seen: (variables) -> x and what it is compared with, as a model of these variables sees it; x and arrays are those
    of the model itself.
    """

    target: targets.Target
    chosen: Any
    words: list[str]
    x: jax.Array
    arrays: dict[str, jax.Array]
    seen: Callable[[Any], tuple[jax.Array, dict[str, jax.Array]]]
    static: dict[str, Any]
    rows: NDArray[np.int64]


def subjects(
    predictor: Predictor,
    inputs: Mapping[str, np.ndarray],
    methods: Mapping[str, Method],
    layer: str,
    seed: int,
    size: int,
) -> Iterator[tuple[NDArray[np.int64], Subject]]:
    whole = targets.read(predictor.spec, inputs)
    count, prepare = len(whole.x), predictor.spec.prepare
    size, key = min(size, count), jax.random.key(seed)
    first = targets.Read(whole.x[:1], whole.content[:1])
    target = targets.target_of(predictor.model, predictor.variables, predictor.spec, first)
    enter = partial(target.enter, predictor.variables)
    if not layer and any(method.kind == "layer" for method in methods.values()):
        layer = targets.default_layer(target, enter(first))
    parts = parts_of(whole, enter, methods, prepare)
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        given = targets.Read(whole.x[rows], whole.content[rows])
        chosen, said = target.find(predictor.variables, given, None)
        seen = partial(_seen, target, prepare, given, key)
        x, arrays = seen(predictor.variables)
        arrays |= {"segments": jnp.asarray(parts[rows]), "key": jax.random.fold_in(key, start)}
        static = {"layer": layer, "parts": int(parts.max()) + 1, "apart": target.kind == "words"}
        yield (
            np.arange(start, min(start + size, count)),
            Subject(target, chosen, said, x, arrays, seen, static, rows),
        )


def _seen(
    target: targets.Target, prepare: Prepare, given: targets.Read, key: jax.Array, variables: Any
) -> tuple[jax.Array, dict[str, jax.Array]]:
    x = target.enter(variables, given)
    return x, compared(target, variables, given, x, prepare, "", key)


def compared(
    target: targets.Target,
    variables: Any,
    given: targets.Read,
    x: jax.Array,
    prepare: Prepare,
    name: str,
    key: jax.Array,
) -> dict[str, jax.Array]:
    """What methods compare x with: the reference `name`, and several that are drawn."""
    return {
        "reference": reference(name, target, variables, given, x, prepare),
        "references": drawn_references(REFERENCES, target, variables, x, prepare, key),
    }


def parts_of(
    given: targets.Read, enter: Callable[[targets.Read], jax.Array], methods: Collection[str], prepare: Prepare
) -> NDArray[np.int64]:
    """What methods hide together, of examples: [B, *spatial] of what they see, from 0; one part if none of them does.

    Of texts they are letters (see `spelling`) if there are at most PARTS of them, else words, several of which are one
    part where there are more.
    """
    if not {"kernel_shap", "lime"}.intersection(methods):
        return np.zeros((given.x if isinstance(prepare, TextPrepare) else enter(given)[..., 0]).shape, np.int64)
    if isinstance(prepare, TextPrepare):
        return np.stack([_parts_of_text(tokens, prepare) for tokens in np.asarray(given.x)])
    return np.stack([segments(example, PARTS) for example in np.asarray(enter(given))])


def _parts_of_text(tokens: NDArray[np.integer], prepare: TextPrepare) -> NDArray[np.int64]:
    found = spelled_out(tokens, prepare)
    place, count = found.of, len(found.letters)
    if count > PARTS:
        order = np.argsort(found.of, kind="stable")  # a blank belongs to the word before it
        place = np.empty_like(found.word_of)
        place[order] = np.maximum(np.maximum.accumulate(found.word_of[order]), 0)
        count = len(found.words)
        place = place * PARTS // count if count > PARTS else place
    whole = np.zeros(len(tokens), np.int64)  # padding counts nothing, whatever it is hidden with
    whole[: len(place)] = place
    return whole


def maps_of(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    """Maps of x's shape or [B, *spatial], as a method makes them."""
    g, likely = (partial(score, variables, chosen) for score in (target.score, target.likely))
    return method.run(Asked(lambda x: g(x)[0], lambda x: likely(x)[0], g, **arrays, **static), x)


def flat_maps(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    """Maps [B, *spatial]."""
    return positions(maps_of(target, method, static, variables, chosen, x, arrays), x)


def whole_maps(
    target: targets.Target, method: Method, static: Any, variables: Any, chosen: Any, x: jax.Array, arrays: Any
) -> jax.Array:
    """Maps of x's shape; what counts for a position is shared by its channels."""
    maps = maps_of(target, method, static, variables, chosen, x, arrays)
    return maps if maps.ndim == x.ndim else jnp.broadcast_to(maps[..., None] / x.shape[-1], x.shape)
