"""The step on many devices: the same function compiled by jit(shard_map), with sharded parameters by jit, or by pmap.

Meshes have one axis, the batch's. All three ways give the same numbers: random numbers are keyed by an example's
position in the whole batch, and BatchNorm and gradients average over all of it.

'jit' and 'pmap' write one program per device and its collectives; 'fsdp' writes one program over all devices, which
XLA's partitioner cuts up, because parameters that no device holds whole need it.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cnn_jax.devices import give_back_memory_of_compilers
from cnn_jax.ops.batch_axis import AXIS
from cnn_jax.ops.convolution import lowering
from cnn_jax.train.state import State, Tree, evaluated

HostBatch = Mapping[str, np.ndarray]
ALL, PART = PartitionSpec(), PartitionSpec(AXIS)  # every device holds the whole array, or its part of the batch
SMALLEST_SHARDED = 1024  # elements; below that an array is not worth an all-gather


class Engine(NamedTuple):
    """A compiled way to train on a fixed set of devices.

    place: a state on one device or on the host -> the state on all devices.
    place_batch: NumPy arrays [B, ...] of a training batch -> arrays on all devices, for `step`.
    place_examples: the same for `predict`.
    step: (state, batch) -> (state, metrics); the old state's memory is reused.
    variables: the state on all devices -> the variables to evaluate, for `predict`.
    predict: (variables, batch) -> outputs.
    whole: the state on all devices -> the state as it is checkpointed, one logical copy.
    target: what a checkpoint is restored into, as shapes with shardings.
    """

    place: Callable[[State], State]
    place_batch: Callable[[HostBatch], Tree]
    place_examples: Callable[[HostBatch], Tree]
    step: Callable[[State, Tree], tuple[State, dict[str, jax.Array]]]
    variables: Callable[[State], Tree]
    predict: Callable[[Tree, Tree], dict[str, jax.Array]]
    whole: Callable[[State], State]
    target: State
    devices: int


def choose_devices(wanted: int, batch_size: int, accumulate: int = 1) -> list[jax.Device]:
    """The devices to use: `wanted` of them, or for 0 the most over which the batch divides.

    Raises ValueError where there are too few, or the batch cannot be split evenly.
    """
    available = jax.devices()
    part = batch_size // accumulate
    if wanted > len(available):
        raise ValueError(
            f"compute.devices = {wanted}, but there are {len(available)} {available[0].platform} devices: "
            f"ask for at most {len(available)}"
        )
    if wanted and part % wanted:
        multiple = wanted * accumulate
        raise ValueError(
            f"data.batch_size = {batch_size}{f' in {accumulate} parts' if accumulate > 1 else ''} does not divide "
            f"over {wanted} devices: use a multiple of {multiple}, as {-(-part // wanted) * multiple}"
        )
    # An even share for each device, because mixup and CutMix mix neighbours.
    fits = [n for n in range(1, len(available) + 1) if part % n == 0 and (n == 1 or part // n % 2 == 0)]
    return available[: wanted or max(fits)]


def build(
    train_step: Callable[[State, Tree, jax.Array], tuple[State, dict[str, jax.Array]]],
    predict: Callable[[Tree, Tree], dict[str, jax.Array]],
    state: State,
    key: jax.Array,
    *,
    parallel: str,
    devices: list[jax.Device],
    convolution: str = "auto",
) -> Engine:
    """Compiles `train_step(state, batch, key)` and `predict(variables, batch)` for `devices`.

    Args:
      train_step: the pure step.
      predict: the pure prediction.
      state: an example of the state, or its shapes.
      key: the seed's key. An argument of the compiled step, so that every seed runs the same program.
      parallel: 'jit' (a copy of the state on each device), 'fsdp' (large arrays of it sharded), or 'pmap'.
      devices: from `choose_devices`.
      convolution: how convolutions are computed on a CPU, see `ops.convolution.lowering`.
    """
    give_back_memory_of_compilers()
    mesh = Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))
    everywhere, split = NamedSharding(mesh, ALL), NamedSharding(mesh, PART)
    shapes = jax.eval_shape(lambda s: s, state)
    layout = jax.tree.map(lambda a: _sharding(a, mesh) if parallel == "fsdp" else everywhere, shapes)

    def place_examples(batch: HostBatch) -> Tree:
        arrays = {k: a for k, a in batch.items() if k != "index"}  # which is for the host only
        if jax.process_count() == 1:  # the same in half the time: it is done for every step
            return jax.device_put(arrays, split)
        return {k: jax.make_array_from_process_local_data(split, a) for k, a in arrays.items()}

    inside = functools.partial(_inside, mesh=mesh, convolution=convolution)
    if parallel == "fsdp":
        compiled_step = inside(jax.jit(train_step, donate_argnums=0, out_shardings=(layout, everywhere)))
        compiled_predict = inside(jax.jit(predict, out_shardings=split))
    else:
        compiled_step = inside(jax.jit(_per_device(train_step, mesh, (ALL, PART, ALL), ALL), donate_argnums=0))
        compiled_predict = inside(jax.jit(_per_device(predict, mesh, (ALL, PART), PART)))

    if parallel == "pmap":
        count = len(devices)
        pmapped = jax.pmap(train_step, AXIS, in_axes=(0, 0, None), devices=devices, donate_argnums=0)
        whole = functools.partial(jax.tree.map, _first)

        def pmap_step(state: State, batch: Tree) -> tuple[State, dict[str, jax.Array]]:
            with lowering(convolution):
                state, metrics = pmapped(state, batch, key)
            return state, whole(metrics)

        def replicate(state: State) -> State:
            return jax.tree.map(lambda a: jax.device_put(np.stack([np.asarray(a)] * count), split), state)

        return Engine(
            place=replicate,
            place_batch=lambda batch: place_examples({k: a.reshape(count, -1, *a.shape[1:]) for k, a in batch.items()}),
            place_examples=place_examples,
            step=pmap_step,
            variables=lambda state: jax.device_put(whole(evaluated(state)), everywhere),
            predict=compiled_predict,
            whole=whole,
            target=jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere), shapes),
            devices=count,
        )

    key = jax.device_put(key, everywhere)
    return Engine(
        # From the host: device_put of a device array may alias it, and the donated step would delete the original.
        place=lambda state: jax.tree.map(lambda a, s: jax.device_put(np.asarray(a), s), state, layout),
        place_batch=place_examples,
        place_examples=place_examples,
        step=lambda state, batch: compiled_step(state, batch, key),
        variables=evaluated,
        predict=compiled_predict,
        whole=lambda state: state,
        target=jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, layout),
        devices=len(devices),
    )


def _per_device(
    function: Callable[..., Any], mesh: Mesh, in_specs: tuple[PartitionSpec, ...], out_specs: PartitionSpec
) -> Callable[..., Any]:
    """`function` as the program of one device, as pmap would run it: AXIS is bound, and no rule of partitioning needed.

    Without check_vma, which would sum the gradients of replicated parameters by itself, a second time.
    """
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _first(array: jax.Array) -> jax.Array:
    """A pmapped array's first copy, without a computation."""
    return array.addressable_data(0)[0]


def _inside(function: Callable[..., Any], mesh: Mesh, convolution: str) -> Callable[..., Any]:
    """`function`, traced where its operations can see how the batch is split, and how convolutions are computed."""

    def call(*args: Any) -> Any:
        with jax.set_mesh(mesh), lowering(convolution):
            return function(*args)

    return call


def _sharding(array: jax.ShapeDtypeStruct, mesh: Mesh) -> NamedSharding:
    """Along the largest dimension that the devices divide, or none."""
    dividing = [(size, axis) for axis, size in enumerate(array.shape) if size % mesh.size == 0]
    if not dividing or array.size < SMALLEST_SHARDED:
        return NamedSharding(mesh, PartitionSpec())
    axis = max(dividing)[1]
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))
