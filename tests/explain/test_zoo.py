"""The engine on every family of the zoo: rules for all that they are made of, and values of the quick ones.

experiments/studies/attribution_zoo.py has the values of all of them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.explain.gradients import deep_lift, guided_backprop
from cnn_jax.explain.program import Tracked, run
from cnn_jax.explain.relevance import COMPOSITES, lrp, rules_of
from cnn_jax.inspect.program import trace
from tests.models.test_contract import SMALLEST, VARIANTS, shallow, small_input

QUICK = ("mnist1d_cnn.conv_base", "lenet.lenet5", "cifar_resnet.resnet20")


@pytest.mark.parametrize("name", SMALLEST)
def test_there_is_a_rule_for_every_operation(name):
    """LRP's, the only one that refuses. The program is run on shapes alone."""
    module, x = shallow(VARIANTS[name]), small_input(VARIANTS[name], 1)
    program = trace(module, x.shape[1:])
    closed = program.closed
    given = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in closed.jaxpr.invars]
    logits = closed.jaxpr.replace(outvars=closed.jaxpr.outvars[:1])
    rules = rules_of(COMPOSITES["epsilon"])
    shape = jax.eval_shape(
        lambda key, x, *variables: rules.pack(
            run(logits, closed.consts, [key, Tracked(x, True), *variables], rules)[0]
        ),
        *given,
    )
    assert list(program.outputs)[0] == "logits" and shape.shape == program.outputs["logits"].shape


@pytest.mark.parametrize("name", QUICK)
def test_deep_lift_adds_up_and_relevance_is_kept(name, jit, drawn):
    """DeepLIFT's gap is relative to the change of the score; LRP's sum is the score where no bias takes a part."""
    module, x = shallow(VARIANTS[name]), small_input(VARIANTS[name], 1)
    variables = drawn(module, x)
    axes = tuple(range(1, x.ndim))

    def values(variables, x):
        f = lambda x: module.apply(variables, x, train=False)[0][:, 1]  # noqa: E731
        other = jnp.roll(x, 3, 1)
        gap = deep_lift(f, x, reference=other).sum(axes) - (f(x) - f(other))
        return gap / (f(x) - f(other)), lrp(f, x).sum(axes) / f(x), guided_backprop(f, x)

    gap, ratio, guided = jax.device_get(jit(values)(variables, x))
    assert np.abs(gap).max() < 1e-4
    assert ratio == pytest.approx(1, abs=1e-3)
    assert np.isfinite(guided).all() and np.abs(guided).max() > 0
