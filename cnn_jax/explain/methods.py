"""All attribution methods by name: how each is called, what it promises, what it is held against."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax

from cnn_jax.explain import cams
from cnn_jax.explain.attribution import LayerScore, Score, gradient
from cnn_jax.explain.gradients import deconvnet, deep_lift, guided_backprop
from cnn_jax.explain.perturbation import occlusion, rise
from cnn_jax.explain.relevance import COMPOSITES, lrp
from cnn_jax.explain.sampled import (
    expected_gradients,
    gradient_shap,
    input_x_gradient,
    integrated_gradients,
    mean_over_references,
    smooth_grad,
    square_grad,
    var_grad,
)
from cnn_jax.explain.surrogates import kernel_shap, lime
from cnn_jax.lookup import did_you_mean


class Asked(NamedTuple):
    """What methods are given besides x [B, ...].

    f: the score, a logit of a classifier. likely: the same in [0, 1]. g: f with the feature maps. layer: for the CAMs.
    reference: [B, ...], what x is compared with; references: [R, ...] for means over several. segments: [B, *spatial]
    int, `parts` of them at most, for KernelSHAP and LIME. key: of all that is random. chunk: versions of x in memory at
    once. steps: of integrated gradients. apart: whether each position can be hidden by itself, as a word, and not
    only a window or a cell of them.
    """

    f: Score
    likely: Score
    g: LayerScore
    layer: str
    reference: jax.Array
    references: jax.Array
    segments: jax.Array
    parts: int
    key: jax.Array
    chunk: int = 8
    steps: int = 50
    apart: bool = False


Kind = Literal["gradient", "rules", "layer", "hidden"]
Sums = Literal["change", "mean change", "score", ""]


class Method(NamedTuple):
    """run: (asked, x) -> a map of x's shape, or [B, *spatial]. what: it is, in a few words.

    kind: what it needs: a gradient, the program's rules, a feature map, or nothing but the score.
    sums: what the map adds up to: f(x) - f(reference), that of the mean reference, f(x), or nothing. signed: whether
      numbers below 0 mean anything. held: what tests hold it against.
    """

    run: Callable[[Asked, jax.Array], jax.Array]
    what: str
    kind: Kind
    held: str
    sums: Sums = ""
    signed: bool = True


def _cam(weigh: cams.Weigh) -> Callable[[Asked, jax.Array], jax.Array]:
    return lambda a, x: cams.cam(a.g, x, a.layer, weigh)


def _guided_grad_cam(a: Asked, x: jax.Array) -> jax.Array:
    return guided_backprop(a.f, x) * cams.cam(a.g, x, a.layer, cams.grad_cam)[..., None]


def _surrogate(model: Callable[..., jax.Array]) -> Callable[[Asked, jax.Array], jax.Array]:
    return lambda a, x: model(a.f, x, segments=a.segments, count=a.parts, reference=a.reference, chunk=a.chunk)


def _lrp(name: str) -> Callable[[Asked, jax.Array], jax.Array]:
    return lambda a, x: lrp(a.f, x, composite=COMPOSITES[name])


def _noisy(method: Callable[..., jax.Array]) -> Callable[[Asked, jax.Array], jax.Array]:
    return lambda a, x: method(a.f, x, key=a.key, chunk=a.chunk)


def _expected(method: Callable[..., jax.Array]) -> Callable[[Asked, jax.Array], jax.Array]:
    return lambda a, x: method(a.f, x, references=a.references, key=a.key, chunk=a.chunk)


def _occlusion(a: Asked, x: jax.Array) -> jax.Array:
    side = min(x.shape[1:-1])
    window, stride = (1, 1) if a.apart else (max(2, side // 8), max(1, side // 16))
    return occlusion(a.f, x, window=window, stride=stride, reference=a.reference, chunk=a.chunk)


def _rise(a: Asked, x: jax.Array) -> jax.Array:
    cells = min(x.shape[1:-1]) if a.apart else 8
    return rise(a.likely, x, key=a.key, cells=cells, reference=a.reference, chunk=a.chunk)


CAPTUM, PGC, ZENNIT = "captum", "pytorch-grad-cam", "zennit"
METHODS: Mapping[str, Method] = {
    "gradient": Method(lambda a, x: gradient(a.f, x), "sensitivity to each number", "gradient", CAPTUM),
    "input_x_gradient": Method(
        lambda a, x: input_x_gradient(a.f, x, reference=a.reference), "change times gradient", "gradient", CAPTUM
    ),
    "smooth_grad": Method(_noisy(smooth_grad), "mean gradient under noise", "gradient", "a linear net"),
    "square_grad": Method(_noisy(square_grad), "mean square of it under noise", "gradient", "its parts", signed=False),
    "var_grad": Method(_noisy(var_grad), "variance of the gradient under noise", "gradient", "NumPy", signed=False),
    "integrated_gradients": Method(
        lambda a, x: integrated_gradients(a.f, x, reference=a.reference, steps=a.steps, chunk=a.chunk),
        "mean gradient on the way from the reference", "gradient", f"completeness, {CAPTUM}", "change",
    ),
    "expected_gradients": Method(
        _expected(expected_gradients), "the same over random references", "gradient", "a linear net", "mean change"
    ),
    "gradient_shap": Method(_expected(gradient_shap), "the same with noise", "gradient", "a linear net", "mean change"),
    "guided_backprop": Method(
        lambda a, x: guided_backprop(a.f, x), "gradient through relus that is positive; a control", "rules",
        f"{CAPTUM}, {ZENNIT}",
    ),
    "deconvnet": Method(lambda a, x: deconvnet(a.f, x), "the same whatever relus read; a control", "rules", CAPTUM),
    "deep_lift": Method(
        lambda a, x: deep_lift(a.f, x, reference=a.reference), "differences from the reference, rescale rule", "rules",
        f"completeness, {CAPTUM}", "change",
    ),
    "deep_shap": Method(
        lambda a, x: mean_over_references(deep_lift, a.f, x, a.references), "the same over random references", "rules",
        "completeness", "mean change",
    ),
    "lrp_epsilon": Method(
        _lrp("epsilon"), "relevance by the parts of each sum", "rules", f"gradient x input, {CAPTUM}", "score"
    ),
    "lrp_epsilon_plus": Method(_lrp("epsilon_plus"), "positive parts in convolutions", "rules", ZENNIT, "score"),
    "lrp_epsilon_plus_flat": Method(
        _lrp("epsilon_plus_flat"), "the same, evenly in the first layer", "rules", ZENNIT, "score"
    ),
    "lrp_epsilon_gamma": Method(_lrp("epsilon_gamma"), "positive parts count a quarter more", "rules", ZENNIT, "score"),
    "lrp_epsilon_alpha2_beta1": Method(
        _lrp("epsilon_alpha2_beta1"), "positive parts twice, less negative ones", "rules", ZENNIT, "score"
    ),
    "grad_cam": Method(_cam(cams.grad_cam), "channels by their mean gradient", "layer", f"{PGC}, {CAPTUM}"),
    "grad_cam_plus_plus": Method(_cam(cams.grad_cam_plus_plus), "the same, weighted by equation 19", "layer", PGC),
    "hires_cam": Method(_cam(cams.hires_cam), "each number by its own gradient", "layer", PGC),
    "layer_cam": Method(_cam(cams.layer_cam), "the same by positive gradients", "layer", PGC),
    "xgrad_cam": Method(_cam(cams.xgrad_cam), "channels by their weighted gradient", "layer", PGC),
    "eigen_cam": Method(_cam(cams.eigen_cam), "main direction of the channels, of no class", "layer", PGC),
    "eigen_grad_cam": Method(_cam(cams.eigen_grad_cam), "the same of numbers times gradients", "layer", PGC),
    "ablation_cam": Method(
        lambda a, x: cams.ablation_cam(a.g, x, a.layer, chunk=a.chunk), "channels by what the score loses", "layer", PGC
    ),
    "score_cam": Method(
        lambda a, x: cams.score_cam(a.likely, a.g, x, a.layer, reference=a.reference, chunk=a.chunk),
        "channels by the score of what they show", "layer", PGC, signed=False,
    ),
    "guided_grad_cam": Method(_guided_grad_cam, "Grad-CAM times guided backpropagation", "layer", "its parts"),
    "occlusion": Method(_occlusion, "what the score loses without a window", "hidden", CAPTUM),
    "rise": Method(_rise, "random masks by their scores", "hidden", "a linear score", signed=False),
    "kernel_shap": Method(_surrogate(kernel_shap), "Shapley values of segments", "hidden", "exact values", "change"),
    "lime": Method(_surrogate(lime), "linear model of segments", "hidden", "scikit-learn's ridge"),
}  # fmt: skip
# Their maps are slopes: a sign says in which direction to change a number, and not whether it counts.
SLOPES = frozenset("gradient smooth_grad guided_backprop guided_grad_cam deconvnet".split())
DEFAULT = ("integrated_gradients", "deep_lift", "lrp_epsilon_plus_flat", "grad_cam", "layer_cam")
OF_WORDS = ("integrated_gradients", "deep_lift", "lrp_epsilon", "occlusion")  # the default where words are read


def chosen(names: list[str]) -> dict[str, Method]:
    """The methods of these names. Raises ValueError, with the nearest name, where there is none."""
    if unknown := [name for name in names if name not in METHODS]:
        raise ValueError(
            f"there is no method '{unknown[0]}': {did_you_mean(unknown[0], METHODS)} (--methods=list shows all)"
        )
    return {name: METHODS[name] for name in names}
