"""DeepLIFT, LRP and guided backpropagation on every variant of the zoo: do they add up?

Command: python experiments/studies/attribution_zoo.py --out=attribution_zoo.md
         python experiments/studies/attribution_zoo.py --names=resnet,convnext_atto    variants with that in their names
Time: about a minute a large network on one core, nearly all of it compiling
Expected: DeepLIFT's gap at most 1e-4, relative to the change of the score; guided backpropagation finite

Each variant is as published, with one block a stage where a field says how deep it is; those that are then the same
network, as ResNet-50 and 101, are computed once. They read unit noise of the smallest size they take, those of texts
in place of the vectors of words. Variables are random: kernels of unit gain, norms and biases that do something, as
after training. DeepLIFT compares with another noise. The sum of LRP (epsilon) over the score is given twice: with
biases, which take their part of the relevance, and without any, where it should be 1. The score is the logit
that changes most, as a change near 0 is all rounding. Ends with 1 where a gap is too large.
"""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from cnn_jax.devices import set_xla_flags
from cnn_jax.explain.gradients import deep_lift, guided_backprop
from cnn_jax.explain.relevance import lrp
from cnn_jax.inspect.anatomy import count_params
from cnn_jax.inspect.models import published
from cnn_jax.inspect.table import table
from cnn_jax.launch import script
from cnn_jax.paths import written
from cnn_jax.weights.published import QUICK

NAMES = flags.DEFINE_list("names", None, "parts of the names of variants, all by default")
OUT = flags.DEFINE_string("out", None, "a Markdown file for the table")
MOST = 1e-4
BIASES = ("bias", "mean")


def main() -> None:
    rows, bad = [], []
    for module, (shape, names) in networks().items():
        began = time.perf_counter()
        gap, ratio, plain, finite = values(module, smallest(module, shape))
        seconds = time.perf_counter() - began
        rows.append((", ".join(names), f"{gap:.1e}", f"{ratio:.4g}", f"{plain:.5f}", f"{seconds:.0f}"))
        print(*rows[-1], flush=True)
        if not (gap <= MOST and finite):
            bad.append(names[0])
    text = table(("variants", "DeepLIFT gap", "LRP sum / score", "without biases", "seconds"), rows)
    print(text)
    if OUT.value:
        written(OUT.value).write_text(text + "\n", encoding="utf-8")
    if bad:
        raise script.Failed(f"{len(bad)} of {len(rows)} networks do not add up, as {bad[0]}")


def networks() -> dict[Any, tuple[tuple[int, ...], list[str]]]:
    """{network: (shape of an example, the variants that are it)}, of those asked for."""
    found: dict[Any, tuple[tuple[int, ...], list[str]]] = {}
    for name, variant in published().items():
        if variant.task in ("classify", "tag") and (not NAMES.value or any(part in name for part in NAMES.value)):
            found.setdefault(shallow(variant()), (variant.input_shape, []))[1].append(name)
    return found


def shallow(module: Any) -> Any:
    """The same with one block a stage."""
    if hasattr(module, "hidden"):
        module = module.clone(hidden=16)
    if hasattr(module, "blocks"):
        return module.clone(blocks=(1,) * len(module.blocks))
    if hasattr(module, "stages"):
        return module.clone(stages=tuple(stage[:1] for stage in module.stages))
    return module.clone(depth=10) if hasattr(module, "depth") else module


def smallest(module: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with the smallest spatial size of 16, 32, 64 and 96 that the module takes."""

    def taken() -> Iterator[tuple[int, ...]]:
        for side in (16, 32, 64, 96):
            small = (*(min(size, side) for size in shape[:-1]), shape[-1])
            try:
                count_params(module, small)
            except ValueError:
                continue
            yield small

    return next(taken(), shape)


def values(module: Any, shape: tuple[int, ...]) -> tuple[float, float, float, bool]:
    """DeepLIFT's relative gap; LRP's sum / score with biases and without; whether guided gradients are finite."""
    draw = np.random.default_rng(0)
    x, other = (jnp.asarray(draw.normal(size=(1, *shape)), jnp.float32) for _ in range(2))
    axes = tuple(range(1, x.ndim))

    def leaf(path: Any, value: Any) -> np.ndarray:
        if path[-1].key == "kernel":
            return draw.normal(0, (2 / np.prod(value.shape[:-1])) ** 0.5, value.shape).astype(np.float32)
        if path[-1].key in BIASES:
            return draw.normal(0, 0.1, value.shape).astype(np.float32)
        return draw.uniform(0.5, 1.5, value.shape).astype(np.float32)

    shapes = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), x)
    variables = jax.tree.map_with_path(leaf, shapes)
    plain = jax.tree.map_with_path(lambda path, a: a * (path[-1].key not in BIASES), variables)

    def run(variables: Any, x: jax.Array, other: jax.Array) -> tuple[jax.Array, ...]:
        logits = lambda x: module.apply(variables, x, train=False)[0]  # noqa: E731
        most = (logits(x) - logits(other)).argmax()
        f = lambda x: logits(x)[:, most]  # noqa: E731
        y, change = f(x), f(x) - f(other)
        gap = jnp.abs(deep_lift(f, x, reference=other).sum(axes) - change) / jnp.abs(change)
        return gap, lrp(f, x).sum(axes) / y, jnp.isfinite(guided_backprop(f, x)).all(keepdims=True)

    compiled = jax.jit(run, compiler_options=QUICK)
    gap, ratio, finite = (np.asarray(a).ravel()[0] for a in compiled(variables, x, other))
    return float(gap), float(ratio), float(compiled(plain, x, other)[1][0]), bool(finite)


if __name__ == "__main__":
    set_xla_flags()
    script.run(main)
