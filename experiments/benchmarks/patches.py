"""Convolutions with large strides, as stems and patch embeddings have them, against XLA's own, in all three directions.

Command: python experiments/benchmarks/patches.py

Prints a row per layer: milliseconds of the forward pass, the input gradient and the weight gradient, XLA's time over
ours (above 1: ours is faster), and the seconds that our three programs took to compile. Medians of rounds that take
turns. On GPU and TPU both are the same.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags

from cnn_jax.devices import ask_for_huge_pages, set_xla_flags
from cnn_jax.inspect.table import table
from cnn_jax.launch import script

ROUNDS = flags.DEFINE_integer("rounds", 9, "how often each of the two is timed", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", 8, "examples in a batch", lower_bound=1)

# (example, window, features, stride, padding)
LAYERS = {
    "ConvMixer-1024/20, p14": ((224, 224, 3), 14, 1024, 14, 0),
    "ConvMixer-768/32, p7": ((224, 224, 3), 7, 768, 7, 0),
    "ConvNeXt-T stem": ((224, 224, 3), 4, 96, 4, 0),
    "ConvNeXt-T, stage 2": ((56, 56, 96), 2, 192, 2, 0),
    "ViT-S/16": ((224, 224, 3), 16, 384, 16, 0),
    "16 of 64 channels": ((64, 64, 64), 16, 64, 16, 0),
    "AlexNet stem": ((224, 224, 3), 11, 64, 4, 2),
    "M5 stem (1-D)": ((16000, 1), 80, 128, 4, 38),
    "wav2vec stem (1-D)": ((16000, 1), 10, 512, 5, 0),
    "ResNet stem": ((224, 224, 3), 7, 64, 2, 3),
}


def main() -> None:
    import jax

    from cnn_jax.ops import conv_primitives as ours
    from cnn_jax.ops.conv_geometry import Geometry, stock_forward, stock_input_gradient, stock_weight_gradient

    rows = []
    for name, (example, window, features, stride, padding) in LAYERS.items():
        dims = len(example) - 1
        kernel_shape = (*(window,) * dims, example[-1], features)
        geometry = Geometry(
            (BATCH.value, *example), kernel_shape, (stride,) * dims, ((padding, padding),) * dims, (1,) * dims, 1
        )
        draw = np.random.default_rng(0)
        x, kernel, dy = (
            jax.numpy.asarray(draw.normal(size=shape), "float32")
            for shape in (geometry.x_shape, kernel_shape, geometry.out_shape)
        )
        cells, compiled = [], 0.0
        for mine, stock, arrays in (
            (ours.forward, stock_forward, (x, kernel)),
            (ours.input_gradient, stock_input_gradient, (dy, kernel)),
            (ours.weight_gradient, stock_weight_gradient, (x, dy)),
        ):
            calls = [_ready(function, geometry, arrays) for function in (mine, stock)]
            compiled += calls[0][1]
            times = [[call() for call, _ in calls] for _ in range(ROUNDS.value)]
            fast, slow = (statistics.median(column) for column in zip(*times, strict=True))
            cells.append(f"{1000 * fast:.1f} ({slow / fast:.2f})")
        rows.append((name, *cells, f"{compiled:.1f}"))
        print(f"  {name}: {', '.join(cells)}", flush=True)
    print(table(("layer", "forward, ms", "input gradient, ms", "weight gradient, ms", "compiled, s"), rows))


def _ready(function: Callable[..., Any], geometry: Any, arrays: tuple[Any, Any]) -> tuple[Callable[[], float], float]:
    """A call that returns the seconds it took, and the seconds to compile it."""
    import jax

    began = time.perf_counter()
    program = jax.jit(lambda a, b: function(a, b, geometry)).lower(*arrays).compile()
    compiled = time.perf_counter() - began
    jax.block_until_ready(program(*arrays))

    def call() -> float:
        began = time.perf_counter()
        jax.block_until_ready(program(*arrays))
        return time.perf_counter() - began

    return call, compiled


if __name__ == "__main__":
    ask_for_huge_pages()
    set_xla_flags()
    script.run(main, keep_programs=False)
