"""What explanations cost beside one gradient, and beside captum on the same CPU.

Command: python experiments/benchmarks/explain.py
Time: 10 min on two CPU cores, which nothing else may use
Needs: pip install 'cnn_jax[bench]' captum; without them this project alone is timed

EfficientNet-Lite0, one image of 224 x 224, the logit of a class. captum has the same network in PyTorch, eager, as many
threads as cores, and the faster of both memory formats; it has no RISE, so its masks are scored as the authors' code
does, in batches of 20. Here as many versions of the image are computed at once as `explain` chooses on a CPU, or nearly
so. The number of masks is --masks: the time of 4,000 is proportional to it. All take turns, and a number is the median
over rounds; compiling is not counted.
"""

import importlib.util
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from turns import Call, beside, medians, timed

from cnn_jax.devices import ask_for_huge_pages, set_xla_flags
from cnn_jax.explain import cams
from cnn_jax.explain.attribution import gradient
from cnn_jax.explain.gradients import deep_lift, guided_backprop
from cnn_jax.explain.perturbation import rise
from cnn_jax.explain.relevance import COMPOSITES, lrp
from cnn_jax.explain.sampled import integrated_gradients
from cnn_jax.inspect.table import table
from cnn_jax.launch import script
from cnn_jax.models.efficientnet import efficientnet_lite0

ROUNDS = flags.DEFINE_integer("rounds", 5, "how often each side is timed", lower_bound=1)
MASKS = flags.DEFINE_integer("masks", 400, "of RISE", lower_bound=1)
QUICK = flags.DEFINE_bool("quick", False, "a small image and few masks: to see that everything works")
ONLY = flags.DEFINE_list("only", None, "some of the methods")
LABEL = 7
FORMATS = ("contiguous", "channels_last")


def main() -> None:
    side, masks = (64, 20) if QUICK.value else (224, MASKS.value)
    both = all(importlib.util.find_spec(name) is not None for name in ("torch", "captum"))
    if not both:
        print("captum is not installed: this project alone is timed (pip install 'cnn_jax[bench]' captum)")
    ours = methods(side, masks)
    if unknown := set(ONLY.value or ()) - set(ours):
        raise script.Failed(f"there is no method {sorted(unknown)[0]}: known: {', '.join(ours)}")
    asked = beside("explain_torch.py", {"side": side, "masks": masks})[1] if both else None
    rows = []
    reference = ours["gradient"]
    for name, call in ours.items():
        if ONLY.value and name not in ONLY.value:
            continue
        calls: list[Call] = [timed(reference), timed(call)]
        if asked and name in ("gradient", "grad_cam", "integrated_gradients", "rise", "deep_lift"):
            calls += [asked(f"{name} {form}") for form in FORMATS]
        one, mine, *theirs = medians(1 if QUICK.value else ROUNDS.value, *calls)
        beside_us = (f"{1000 * min(theirs):.0f}", f"{min(theirs) / mine:.2f}") if theirs else ("–", "–")
        rows.append((name, f"{1000 * mine:.0f}", f"{mine / one:.2f}", *beside_us))
        print(*rows[-1], flush=True)
    print(table(("method", "this project, ms", "/ one gradient", "captum, ms", "captum / this project"), rows))


def methods(side: int, masks: int) -> dict[str, Any]:
    """{name: a call that computes its map of one image}."""
    model = efficientnet_lite0()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, side, side, 3)), jnp.float32)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), x)

    def compiled(method: Any) -> Any:
        def run(variables: Any, x: jax.Array) -> jax.Array:
            def g(x: jax.Array) -> Any:
                logits, features = model.apply(variables, x, train=False)
                return logits[:, LABEL], features

            return method(lambda x: g(x)[0], g, x)

        return partial(jax.jit(run), variables, x)

    chosen = {
        "gradient": lambda f, g, x: gradient(f, x),
        "grad_cam": lambda f, g, x: cams.cam(g, x, "stage8", cams.grad_cam),
        "guided_backprop": lambda f, g, x: guided_backprop(f, x),
        "deep_lift": lambda f, g, x: deep_lift(f, x),
        "lrp_epsilon": lambda f, g, x: lrp(f, x),
        "lrp_epsilon_plus_flat": lambda f, g, x: lrp(f, x, composite=COMPOSITES["epsilon_plus_flat"]),
        "integrated_gradients": lambda f, g, x: integrated_gradients(f, x, steps=50, chunk=1),
        "rise": lambda f, g, x: rise(f, x, key=jax.random.key(0), masks=masks, chunk=4),
    }
    return {name: compiled(method) for name, method in chosen.items()}


if __name__ == "__main__":
    ask_for_huge_pages()
    set_xla_flags()
    script.run(main)
