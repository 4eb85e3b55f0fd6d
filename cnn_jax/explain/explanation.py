"""A model's answer explained by several methods: maps, and what has to be said of each of them."""

import math
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.data.text import PADDING
from cnn_jax.explain import targets
from cnn_jax.explain.attribution import positions
from cnn_jax.explain.methods import SLOPES, Method
from cnn_jax.explain.references import REFERENCES as KNOWN
from cnn_jax.explain.subjects import REFERENCES, compared, maps_of, parts_of
from cnn_jax.explain.targets import Kind, Read, Target
from cnn_jax.inspect.anatomy import activation_memory
from cnn_jax.inspect.program import trace
from cnn_jax.inspect.table import sizes
from cnn_jax.train.mesh import within_memory
from cnn_jax.train.predictor import Predictor

MOST = 32  # versions at once at most: more make nothing faster
CACHED = 2**26  # bytes of versions at once on a CPU: of EfficientNet-Lite0 1 is 1.2 times as fast as 5, 1.4 as 10
GAP = 0.01  # of integrated gradients: beyond it there are four times the steps
STEPS = (50, 200, 800)
UNTESTED = "sanity: not tested on this model"


class Wishes(NamedTuple):
    """wanted: as `targets.target_of` says. layer: None for the last map with extent. reference: one of
    references.REFERENCES, "" for the first of that kind. memory: bytes for versions of an input. asked: whether
    somebody named the methods; if not, those that a model has no part for are left out, which is said. verdicts:
    {method: what a sanity test of it on this model has said}.
    """

    wanted: str | None = None
    layer: str | None = None
    reference: str = ""
    memory: int = 2**30
    seed: int = 0
    asked: bool = True
    verdicts: Mapping[str, str] = {}


class Explained(NamedTuple):
    """One method's map of one input, [*spatial] or [*spatial, C]; places: [*spatial], what each position counts.

    signed: whether places below 0 mean anything. Of a text the positions are those of its tokens, without padding.
    numbers: what is measured on it. lines: the same, as it is printed under the map.
    """

    map: np.ndarray
    places: np.ndarray
    signed: bool
    numbers: dict[str, float]
    lines: list[str]


class Explanation(NamedTuple):
    """x: [*spatial, C], as methods see it: see `targets.Target.kind`. score, of_reference: for x and the reference.

    target: what is explained. chosen: the arrays that tell it from others. maps: {method: Explained}.
    """

    kind: Kind
    x: np.ndarray
    target: str
    score: float
    of_reference: float
    reference: str
    layer: str | None
    chosen: dict[str, np.ndarray]
    maps: dict[str, Explained]


class Explainer:
    """Explains a predictor's answers, one input at a time; each method is compiled once for each shape."""

    def __init__(self, predictor: Predictor, wishes: Wishes) -> None:
        self.predictor, self.wishes = predictor, wishes
        self._targets: dict[tuple[int, ...], Target] = {}
        self._compiled: dict[tuple[Any, ...], Callable[..., jax.Array]] = {}
        self._warned: set[str] = set()
        wanted, _, self.side = (wishes.wanted or "").rpartition(":")
        if not wanted or self.side not in targets.SIDES:
            wanted, self.side = wishes.wanted or "", ""
        self.wanted = wanted or None

    def __call__(
        self, inputs: Mapping[str, np.ndarray], methods: Mapping[str, Method], wanted: str | None = None
    ) -> Explanation:
        """The maps of one example {input: [1, ...]}; wanted: the target of this one.

        Raises ValueError where the target or the layer is not there.
        """
        predictor, wishes = self.predictor, self.wishes
        given, prepare = targets.read(predictor.spec, inputs), predictor.spec.prepare
        if given.x.shape not in self._targets:
            self._targets[given.x.shape] = targets.target_of(
                predictor.model, predictor.variables, predictor.spec, given, self.side
            )
        target = self._targets[given.x.shape]
        enter = partial(target.enter, predictor.variables)
        chosen, words = target.find(predictor.variables, given, self.wanted if wanted is None else wanted)
        x, key = enter(given), jax.random.key(wishes.seed)
        arrays = compared(target, predictor.variables, given, x, prepare, wishes.reference, key)
        reference = wishes.reference or KNOWN[target.kind][0]
        layer, why = None, ""
        if any(method.kind == "layer" for method in methods.values()):
            try:
                layer, why = self._layer(target, x)
            except ValueError as error:
                methods = {name: method for name, method in methods.items() if method.kind != "layer"}
                if wishes.asked or not methods:
                    raise
                self._say(f"no class activation maps: {error}")
        parts = parts_of(given, enter, methods, prepare)
        found: dict[str, Explained] = {}
        score = self._score(target, chosen, x)
        ends = {"change": self._score(target, chosen, arrays["reference"])}
        if any(method.sums == "mean change" for method in methods.values()):
            several = arrays["references"]
            ends["mean change"] = float(np.mean([self._score(target, chosen, row[None]) for row in several]))
        apart = target.kind == "words"
        rest = dict(layer=layer or "", parts=int(parts.max()) + 1, chunk=self._chunk(given), apart=apart)
        arrays |= {"segments": jnp.asarray(parts), "key": key}
        real = np.asarray(given.x[0]) != PADDING if apart else slice(None)
        for name, method in methods.items():
            slope = apart and name in SLOPES  # what a number of a vector changes adds up to nothing for a word
            try:
                for steps in STEPS if name == "integrated_gradients" else STEPS[:1]:
                    found_map = self._run(name, method, target, chosen, x, arrays, {**rest, "steps": steps})
                    flat = positions(jnp.abs(found_map) if slope else found_map, x)
                    array, places = np.asarray(found_map[0])[real], np.asarray(flat[0])[real]
                    numbers = _numbers(array, places, method, score, ends)
                    if numbers.get("gap", 0) <= GAP:
                        break
            except ValueError as error:
                if wishes.asked or len(methods) == 1:
                    raise
                self._say(f"no {name}: {error}")
                continue
            numbers |= {"steps": steps} if name == "integrated_gradients" else {}
            lines = _lines(numbers, method, reference, why)
            lines.append(wishes.verdicts.get(name, UNTESTED))
            found[name] = Explained(array, places, method.signed and not slope, numbers, lines)
        arrays_of = {name: np.asarray(array[0]) for name, array in chosen.items()}
        seen = np.asarray(x[0])[real]
        return Explanation(target.kind, seen, words[0], score, ends["change"], reference, layer, arrays_of, found)

    def _run(
        self, name: str, method: Method, target: Target, chosen: Any, x: jax.Array, arrays: Any, static: dict[str, Any]
    ) -> jax.Array:
        key = (name, x.shape, *static.values())
        if key not in self._compiled:
            run = partial(maps_of, target, method, static)
            self._compiled[key] = within_memory(jax.jit(lambda variables, rest: run(variables, *rest)))
        return self._compiled[key](self.predictor.variables, (chosen, x, arrays))

    def _score(self, target: Target, chosen: Any, x: jax.Array) -> float:
        key = ("score", x.shape)
        if key not in self._compiled:
            self._compiled[key] = within_memory(jax.jit(lambda variables, rest: target.score(variables, *rest)[0]))
        return float(self._compiled[key](self.predictor.variables, (chosen, x))[0])

    def _layer(self, target: Target, x: jax.Array) -> tuple[str, str]:
        asked = self.wishes.layer
        name = asked or targets.default_layer(target, x)
        size = sizes(target.layers[name][1:-1]) if name in target.layers else ""
        return name, f"layer {name}, {size}: " + ("as asked" if asked else "the last feature map with extent")

    def _chunk(self, given: Read) -> int:
        """How many versions of the input are computed at once, within the memory that is allowed."""
        each = max(activation_memory(trace(self.predictor.model, given.x.shape[1:])).training, 1)
        fit, wanted = self.wishes.memory // each, MOST
        if jax.default_backend() == "cpu":  # beyond its caches more at once are slower
            wanted = max(1, min(MOST, CACHED // each))
        if fit < 1:
            self._say(
                f"one version of an input takes {each / 2**20:,.0f} MiB, more than --memory allows "
                f"({self.wishes.memory / 2**20:,.0f} MiB): they are computed one at a time"
            )
        elif fit < wanted:
            self._say(f"{fit} versions of an input are computed at once, not {wanted}: --memory allows no more")
        return max(1, min(fit, wanted))

    def _say(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(text, stacklevel=4)


def _numbers(
    found: np.ndarray, places: np.ndarray, method: Method, score: float, ends: Mapping[str, float]
) -> dict[str, float]:
    """What is measured on a map. ties: the share of positions whose value another has too; positive: of those above 0.

    gap: by how much of it a map misses what it should add up to; ratio: of its sum to the score. NaN for x / 0.
    """
    _, counts = np.unique(places, return_counts=True)
    numbers = {"ties": float(1 - (counts == 1).sum() / places.size), "positive": float((places > 0).mean())}
    total = float(found.sum(dtype=np.float64))
    if method.sums == "score":
        numbers["ratio"] = total / score if score else math.nan
    elif method.sums and method.kind != "hidden":
        change = score - ends[method.sums]
        numbers["gap"] = abs(total - change) / abs(change) if change else math.nan
    return numbers


def _lines(numbers: Mapping[str, float], method: Method, reference: str, layer: str) -> list[str]:
    lines = []
    if method.sums == "score":
        lines.append(f"sum / score {numbers['ratio']:.3g}")
    if "gap" in numbers:
        steps = f" in {numbers['steps']:.0f} steps" if "steps" in numbers else ""
        to = reference if method.sums == "change" else f"{REFERENCES} random references"
        lines.append(f"adds up to the change from {to} but for {100 * numbers['gap']:.2g} %{steps}")
    if method.kind == "layer":
        lines.append(layer)
    if not numbers["positive"]:
        lines.append("all negative: nothing speaks for this")
    if numbers["ties"] > 0.001:
        lines.append(f"{numbers['ties']:.0%} of the positions share their value")
    return lines
