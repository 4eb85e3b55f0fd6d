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
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from cnn_jax import processes
from cnn_jax.batch import Batch, abstract
from cnn_jax.data.spec import INDEX, Fields
from cnn_jax.devices import give_back_memory_of_compilers, memory
from cnn_jax.ops.batch_axis import AXIS
from cnn_jax.ops.convolution import lowering
from cnn_jax.train.state import State, Tree, evaluated
from cnn_jax.train.step import Metrics

HostBatch = Mapping[str, np.ndarray]
ALL, PART = PartitionSpec(), PartitionSpec(AXIS)  # every device holds the whole array, or its part of the batch
Step = Callable[[State, Batch, jax.Array], tuple[State, Metrics]]
Fetch = Callable[[], Metrics]
MOST = 0.75  # of the machine's memory, for a program that may be a stranger's
SMALLEST_SHARDED = 1024  # elements; below that an array is not worth an all-gather


class Engine(NamedTuple):
    """A compiled way to train on a fixed set of devices.

    place: a state on one device or on the host -> the state on all devices.
    place_batch: NumPy arrays [B, ...] of a training batch -> the batch on all devices, for `step`.
    step: (state, batch) -> (state, fetch); the old state's memory is reused. fetch() waits for the step and returns
      its metrics as Python numbers.
    variables: the state on all devices -> the variables to evaluate, one logical copy.
    whole: the state on all devices -> the state as it is checkpointed, one logical copy.
    target: what a checkpoint is restored into, as shapes with shardings.
    traced, lowered: the size of a batch -> the step's program for one of that size, as JAX has traced it, and not yet
      compiled. They compute nothing, and take no time where such a step has run.
    """

    place: Callable[[State], State]
    place_batch: Callable[[HostBatch], Tree]
    step: Callable[[State, Tree], tuple[State, Fetch]]
    variables: Callable[[State], Tree]
    whole: Callable[[State], State]
    target: State
    devices: int
    traced: Callable[[int], ClosedJaxpr]
    lowered: Callable[[int], jax.stages.Lowered]


def choose_devices(wanted: int, batch_size: int, accumulate: int = 1) -> list[jax.Device]:
    """The devices to use: `wanted` of them, or for 0 the most over which the batch divides.

    Raises ValueError where there are too few, or the batch cannot be split evenly.
    """
    available = jax.devices()
    part = batch_size // accumulate
    if jax.process_count() > 1:
        return _of_all_processes(available, wanted, part, batch_size)
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
    fits = [n for n in range(1, len(available) + 1) if _is_even(part, n)]
    return available[: wanted or max(fits)]


def _is_even(part: int, devices: int) -> bool:
    """Whether each device has an even share, because mixup and CutMix mix neighbours."""
    return part % devices == 0 and (devices == 1 or part // devices % 2 == 0)


def _of_all_processes(available: list[jax.Device], wanted: int, part: int, batch_size: int) -> list[jax.Device]:
    """As many devices of each process, those of one process together."""
    total = jax.process_count()
    own: dict[int, list[jax.Device]] = {}
    for device in available:
        own.setdefault(device.process_index, []).append(device)
    least = min(map(len, own.values()))
    if wanted % total or wanted > total * least:
        raise ValueError(
            f"compute.devices = {wanted} does not divide over {total} processes with {least} devices each: ask for "
            f"a multiple of {total}, at most {total * least}, or for 0"
        )
    if part % (wanted or total):
        what, count = ("devices", wanted) if wanted else ("processes", total)
        raise ValueError(
            f"data.batch_size = {batch_size} does not divide over {count} {what}: use a multiple of {count}, as "
            f"{-(-batch_size // count) * count}, or start another number of processes"
        )
    fits = [n for n in range(1, least + 1) if part % (n * total) == 0]
    even = [n for n in fits if _is_even(part, n * total)]
    count = wanted // total or max(even or fits)
    return [device for rank in sorted(own) for device in own[rank][:count]]


def build(
    train_step: Step,
    state: State,
    key: jax.Array,
    fields: Fields,
    *,
    parallel: str,
    devices: list[jax.Device],
    convolution: str = "auto",
) -> Engine:
    """Compiles `train_step(state, batch, key)` for `devices`.

    Args:
      train_step: the pure step.
      state: an example of the state, or its shapes.
      key: the seed's key. An argument of the compiled step, so that every seed runs the same program.
      fields: of the batches.
      parallel: 'jit' (a copy of the state on each device), 'fsdp' (large arrays of it sharded), or 'pmap'.
      devices: from `choose_devices`.
      convolution: how convolutions are computed on a CPU, see `ops.convolution.lowering`.
    """
    give_back_memory_of_compilers()
    mesh = _mesh(devices)
    _connect(mesh)
    everywhere, split = NamedSharding(mesh, ALL), NamedSharding(mesh, PART)
    shapes = jax.eval_shape(lambda s: s, state)
    if parallel == "pmap":
        if jax.process_count() > 1:
            raise ValueError("compute.parallel = 'pmap' is for one process: with several say jit or fsdp")
        return _pmapped(train_step, shapes, key, fields, mesh, convolution)
    packed, unpacked = _packed(train_step)
    layout = jax.tree.map(lambda a: _sharding(a, mesh) if parallel == "fsdp" else everywhere, shapes)
    if parallel == "fsdp":
        jitted = jax.jit(packed, donate_argnums=0, out_shardings=(layout, everywhere))
    else:
        jitted = jax.jit(_per_device(packed, mesh, (ALL, PART, ALL), ALL), donate_argnums=0)
    compiled, key = _inside(jitted, mesh, convolution), _put_key(key, everywhere)

    def step(state: State, batch: Batch) -> tuple[State, Fetch]:
        state, numbers = compiled(state, batch, key)
        return state, functools.partial(unpacked, numbers)

    target = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, layout)

    def example(size: int) -> tuple[State, Batch, jax.Array]:
        batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=split), abstract(fields, size))
        return target, batch, key

    return Engine(
        # From the host: device_put of a device array may alias it, and the donated step would delete the original.
        place=lambda state: jax.tree.map(_put, state, layout),
        place_batch=functools.partial(_placed, fields=fields, sharding=split),
        step=step,
        variables=evaluated,
        whole=lambda state: state,
        target=target,
        devices=len(devices),
        traced=lambda size: _inside(jitted.trace, mesh, convolution)(*example(size)).jaxpr,
        lowered=lambda size: _inside(jitted.lower, mesh, convolution)(*example(size)),
    )


def _pmapped(
    train_step: Step,
    shapes: State,
    key: jax.Array,
    fields: Fields,
    mesh: Mesh,
    convolution: str,
) -> Engine:
    everywhere, split = NamedSharding(mesh, ALL), NamedSharding(mesh, PART)
    count = mesh.size
    packed, unpacked = _packed(train_step)
    pmapped = jax.pmap(packed, AXIS, in_axes=(0, 0, None), devices=mesh.devices.tolist(), donate_argnums=0)
    whole = functools.partial(jax.tree.map, _first)

    def step(state: State, batch: Batch) -> tuple[State, Fetch]:
        with lowering(convolution):
            state, numbers = pmapped(state, batch, key)
        return state, lambda: unpacked(_first(numbers))

    def place_batch(batch: HostBatch) -> Batch:
        cut = {name: array.reshape(count, -1, *array.shape[1:]) for name, array in batch.items()}
        return _placed(cut, fields, split)

    def example(size: int) -> tuple[State, Batch, jax.Array]:
        states = jax.tree.map(lambda a: jax.ShapeDtypeStruct((count, *a.shape), a.dtype), shapes)
        batch = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct((count, size // count, *a.shape[1:]), a.dtype), abstract(fields, size)
        )
        return states, batch, key

    def looked_at(look: Callable[..., Any]) -> Callable[[int], Any]:
        def call(size: int) -> Any:
            with lowering(convolution):
                return look(*example(size))

        return call

    return Engine(
        place=lambda state: jax.tree.map(lambda a: jax.device_put(np.stack([np.asarray(a)] * count), split), state),
        place_batch=place_batch,
        step=step,
        variables=lambda state: jax.device_put(whole(evaluated(state)), everywhere),
        whole=whole,
        target=jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere), shapes),
        devices=count,
        traced=looked_at(jax.make_jaxpr(pmapped)),
        lowered=looked_at(pmapped.lower),
    )


def _packed(
    train_step: Step,
) -> tuple[Callable[[State, Batch, jax.Array], tuple[State, jax.Array]], Callable[[jax.Array], Metrics]]:
    """`train_step` with its metrics as one float32 vector, and the function that takes the vector apart again.

    Each array that is fetched costs some 25 microseconds, which is a lot for steps of a few milliseconds. Counts are
    exact up to 2^24.
    """
    structure: list[Any] = []

    def packed(state: State, batch: Batch, key: jax.Array) -> tuple[State, jax.Array]:
        state, metrics = train_step(state, batch, key)
        leaves, tree = jax.tree.flatten(metrics)
        structure[:] = [tree]  # known from the trace on, which comes before the first number
        return state, jnp.stack([leaf.astype(jnp.float32) for leaf in leaves])

    def unpacked(numbers: jax.Array) -> Metrics:
        return jax.tree.unflatten(structure[0], np.asarray(numbers).tolist())

    return packed, unpacked


def forward(
    function: Callable[[Tree, Batch], Tree],
    fields: Fields,
    devices: list[jax.Device],
    convolution: str = "auto",
    *,
    bounded: bool = False,
) -> Callable[[Tree, HostBatch], Tree]:
    """Compiles a pure function of (variables, batch) whose results are arrays [B, ...], one row for each example.

    Returns a function of the variables, on any devices, and NumPy arrays [B, ...]; the devices must divide B. `fields`
    may hold more than a batch does: for a prediction there are no targets. A result [1, ...] comes out as [devices,
    ...], one row for each part of the batch.

    bounded: a program that would take more memory than `MOST` of the machine's is not run: ValueError. The variables
    must then be of the same shapes and on the same devices in all calls.
    """
    mesh = _mesh(devices)
    # Variables that are sharded (fsdp) are gathered by the program: in evaluation each device holds all of them.
    program = jax.jit(_per_device(function, mesh, (ALL, PART), PART))
    jitted = _inside(within_memory(program, len(devices)) if bounded else program, mesh, convolution)
    split = NamedSharding(mesh, PART)
    return lambda variables, batch: jitted(variables, _placed(batch, fields, split))


def rows_here(tree: Tree) -> Tree:
    """Results of `forward` as NumPy arrays, of several processes the rows of this one's part of the batch."""
    if jax.process_count() == 1:
        return jax.device_get(tree)

    def rows(array: jax.Array) -> np.ndarray:
        parts = sorted(array.addressable_shards, key=lambda part: part.index[0].start or 0)
        return np.concatenate([np.asarray(part.data) for part in parts])

    return jax.tree.map(rows, tree)


def within_memory(program: Any, devices: int = 1) -> Callable[..., Any]:
    """A jitted function of (variables, batch), compiled for each shape of a batch, and refused with a ValueError where
    XLA says that it takes more memory than `MOST` of the machine's."""
    compiled: dict[Any, Callable[..., Any]] = {}

    def call(variables: Tree, batch: Batch) -> Any:
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(batch))
        if shapes not in compiled:
            made = program.lower(variables, batch).compile()
            sizes = made.memory_analysis()
            need = devices * (sizes.temp_size_in_bytes + sizes.output_size_in_bytes) if sizes else 0
            if jax.default_backend() == "cpu" and need > MOST * memory():  # elsewhere the device itself refuses
                raise ValueError(f"to compute the model takes {need / 1e9:.1f} GB, at most {MOST:.0%} of the memory")
            compiled[shapes] = made
        return compiled[shapes](variables, batch)

    return call


def _put(array: Any, sharding: NamedSharding) -> jax.Array:
    """An array that every process has, on the devices of all; one that was restored there stays."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return array
    host = np.asarray(array)
    if jax.process_count() == 1:
        return jax.device_put(host, sharding)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _put_key(key: jax.Array, sharding: NamedSharding) -> jax.Array:
    if jax.process_count() == 1:
        return jax.device_put(key, sharding)
    return jax.jit(jax.random.wrap_key_data)(_put(jax.random.key_data(key), sharding))


def _connect(mesh: Mesh) -> None:
    """Lets the processes connect now, together: gloo waits 30 s for a process that still compiles its first step."""
    if jax.process_count() == 1:
        return
    ones = _put(np.ones(mesh.size, np.float32), NamedSharding(mesh, PART))
    total = jax.jit(jax.shard_map(lambda x: jax.lax.psum(x, AXIS), mesh=mesh, in_specs=PART, out_specs=ALL))
    compiled = total.lower(ones).compile()
    processes.barrier()
    compiled(ones).block_until_ready()


def _mesh(devices: list[jax.Device]) -> Mesh:
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def _placed(batch: HostBatch, fields: Fields, sharding: NamedSharding) -> Batch:
    """The batch on the devices. An example's index in its split is for the host only."""
    arrays: dict[str, Any] = {name: array for name, array in batch.items() if name != INDEX}
    if jax.process_count() == 1:  # the same in half the time: it is done for every step
        arrays = jax.device_put(arrays, sharding)
    else:
        arrays = {name: jax.make_array_from_process_local_data(sharding, array) for name, array in arrays.items()}
    return Batch(arrays, {name: field for name, field in fields.items() if name in arrays})


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
