"""What is read off a compiled program: its operations, and how often its parts run."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from cnn_jax.inspect import traffic
from cnn_jax.inspect.compiled import Operation, computations, operations

# Of an accelerator, with tiled layouts.
TILED = """HloModule jit_step

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add.1 = f32[] add(%a, %b)
}

ENTRY %main (x: bf16[8,128]) -> (f32[4,128], pred[]) {
  %gathered = bf16[64,128]{1,0:T(8,128)(2,1)} all-gather(%x), dimensions={0}
  ROOT %both.2 = (f32[2,3]{1,0:T(8,128)}, pred[]) all-reduce(%a), to_apply=%sum, metadata={op_name="jit(s)/psum"}
}
"""


def test_operations_are_read_with_their_kind_and_scope() -> None:
    assert operations(TILED) == {
        "add.1": Operation("add.1", "add", ""),
        "gathered": Operation("gathered", "all-gather", ""),
        "both.2": Operation("both.2", "all-reduce", "jit(s)/psum"),
    }
    assert [part.times for part in computations(TILED)] == [1, 1]


def test_what_a_loop_does_counts_as_often_as_it_turns() -> None:
    """Three sums over devices of 5 numbers in a loop, and one of 7 behind it."""
    mesh = Mesh(np.asarray(jax.devices()[:4]), ("batch",))

    def program(x: jax.Array) -> jax.Array:
        looped = jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(jax.lax.psum(y, "batch")), x[:5])
        return looped.sum() + jax.lax.psum(x, "batch").sum()

    spec = PartitionSpec()
    mapped = jax.jit(jax.shard_map(program, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    text = mapped.lower(jax.ShapeDtypeStruct((7,), "float32")).compile().as_text() or ""
    assert sum(traffic.payload(part.text)["all-reduce"] * part.times for part in computations(text)) == 4 * (3 * 5 + 7)
    assert {"while", "all-reduce"} <= {operation.kind for operation in operations(text).values()}
