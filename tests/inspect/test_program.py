"""The one trace: kept where it can be, and complete where a variable starts as a constant."""

from typing import Any

import flax.linen as nn
import jax

from cnn_jax.inspect.program import trace


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
