"""The one trace: kept where it can be, and complete where a variable starts as a constant."""

from typing import Any

import flax.linen as nn
import jax

from cnn_jax.inspect.program import trace
from cnn_jax.inspect.stages import CLASSIFIER, depths, feature_info
from cnn_jax.models.resnet import resnet18


class Gated(nn.Module):
    """A product with a scalar that starts as 0; `blocks` may be a list, of which there is no hash."""

    blocks: Any = (1, 2)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        z = x * self.param("gate", nn.initializers.zeros, ())
        return nn.Dense(sum(self.blocks), name="last")(z), {"z": z, "a": -z}


def test_a_scalar_that_starts_as_a_constant_is_a_variable_of_the_program() -> None:
    program = trace(Gated(), (5,), batch=2)
    shapes = {path: value.shape for path, value in program.variables.items()}
    assert shapes == {"params/gate": (), "params/last/bias": (3,), "params/last/kernel": (5, 3)}
    read = {value for step in program.steps for value in step.inputs}
    assert set(program.variables.values()) <= read and program.image in read
    outputs = [(name, value.shape) for name, value in program.outputs.items()]
    assert outputs == [("logits", (2, 3)), ("z", (2, 5)), ("a", (2, 5))]


def test_a_program_is_kept_where_its_module_has_a_hash() -> None:
    assert trace(Gated(), (5,)) is trace(Gated(), (5,))
    assert trace(Gated(), (5,)) is not trace(Gated(), (5,), batch=2)
    with_list = trace(Gated(blocks=[1, 2]), (5,))
    assert with_list.outputs["logits"].shape == (1, 3)


def test_a_backbone_is_traced_like_the_model_around_it() -> None:
    """Without a classifier there are no logits; maps, strides and the stages of variables are the same."""
    shape = (64, 64, 3)
    assert "logits" in trace(resnet18(), shape).outputs and "logits" not in trace(resnet18(classes=None), shape).outputs
    assert feature_info(resnet18(classes=None), shape) == feature_info(resnet18(), shape)
    whole = depths(resnet18(), shape)
    assert depths(resnet18(classes=None), shape) == {k: stage for k, stage in whole.items() if stage != CLASSIFIER}
    strides = [stride for _, stride in feature_info(resnet18(classes=None, output_stride=8), shape).values()]
    assert strides == [4, 4, 8, 8, 8]
