"""The fastest that this machine's devices multiply matrices, which a training's speed is compared with.

It is measured once, at the end of the first training, and kept beside the compiled programs, in PEAK. A machine that
was busy then measures too little; `rm` that file to have it measured anew.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cnn_jax import compilation_cache

PEAK = "peak.json"  # what was measured: operations per second of one device, by what they are
ROUNDS = 5
ON_CPU, ELSEWHERE = (768, 1), (8192, 8)  # size of the matrices, and products of a round


def peak(precision: str) -> float:
    """Operations per second and device in products of matrices of the type `precision`, all local devices at work.

    A multiply-add is two operations. The type float32 is computed as jax_default_matmul_precision says.
    """
    found, path = dict[str, Any](), _place()
    if path:
        with suppress(OSError, ValueError):
            found = json.loads(path.read_text(encoding="utf-8"))
    devices = jax.local_devices()
    matmul = jax.config.jax_default_matmul_precision or "default"  # type: ignore[attr-defined]
    name = f"{len(devices)} x {devices[0].device_kind}, {precision}, {matmul} products, jax {jax.__version__}"
    if isinstance(known := found.get(name), float) and known > 0:
        return known
    found[name] = _measured(devices, precision)
    if path:
        with suppress(OSError):  # of a full disk the compilation cache has warned
            partial = path.with_name(f"{PEAK}.{os.getpid()}")
            partial.write_text(json.dumps(found, indent=2), encoding="utf-8")
            os.replace(partial, path)
    return found[name]


def _place() -> Path | None:
    folder = os.environ.get(compilation_cache.OF_JAX)  # which is of this kind of CPU, where this project has set it
    return Path(folder) / PEAK if folder else None


def _measured(devices: list[jax.Device], precision: str) -> float:
    size, products = ON_CPU if devices[0].platform == "cpu" else ELSEWHERE
    square = jnp.ones((size, size), precision)
    operands = [jax.device_put(square, device) for device in devices]
    product = jax.jit(jnp.matmul)
    jax.block_until_ready([product(x, x) for x in operands])
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        jax.block_until_ready([product(x, x) for _ in range(products) for x in operands])
        seconds.append(time.perf_counter() - began)
    return products * 2.0 * size**3 / min(seconds)
