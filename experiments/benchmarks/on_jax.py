"""The networks of `step.py` on JAX, as this project runs them and as stock Flax does; it starts this file itself.

"project": the project's networks through its own step (`train/step.py`, compiled by `train/mesh.py`), which also
counts metrics and skips updates that are not finite. "flax": the same layers from flax.linen alone (nn.Conv on XLA's
convolution, nn.BatchNorm, nn.ConvTranspose, nn.max_pool, nn.avg_pool) and the usual step around optax.sgd. Both split
the batch over all devices by jit and NamedSharding, with parameters on each of them, donated.
"""

import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from child import Modes, serve
from flax.training.train_state import TrainState
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_jax.augment.compose import identity
from cnn_jax.batch import Batch
from cnn_jax.data.spec import VALID, Field, Fields
from cnn_jax.evals.evaluator import Evaluator, Scores
from cnn_jax.inspect.anatomy import count_macs, count_params
from cnn_jax.inspect.program import trace
from cnn_jax.models import layers, mnist_cnn
from cnn_jax.models.cifar_resnet import resnet20
from cnn_jax.models.m5 import m5
from cnn_jax.models.mobilenet_v2 import TABLE_2, mobilenet_v2
from cnn_jax.models.resnet import imagenet_stem, resnet18_small, resnet50
from cnn_jax.models.unet import unet_small
from cnn_jax.tasks.task import Task, Variables
from cnn_jax.train import mesh
from cnn_jax.train import state as state_of
from cnn_jax.train.step import Settings, train_step

Arrays = Mapping[str, jax.Array]

MOMENTUM = 0.9


class Norm(nn.Module):
    """flax.linen.BatchNorm, called as the project's networks call theirs."""

    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.BatchNorm(not train, momentum=0.9, epsilon=self.epsilon, dtype=self.dtype, name="norm")(x)


def max_pool(
    x: jax.Array, window: int, strides: int | None = None, padding: int = 0, ceil_mode: bool = False
) -> jax.Array:
    """flax.linen.max_pool, with the arguments of the project's."""
    step = strides or window
    ends = [-(size + 2 * padding - window) % step if ceil_mode else 0 for size in x.shape[1:-1]]
    return nn.max_pool(x, (window,) * len(ends), (step,) * len(ends), [(padding, padding + end) for end in ends])


class MnistCNN(nn.Module):
    """The project's small network, whose pooling is not an argument, with the pooling of flax.linen."""

    classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        del train
        for width in (32, 64):
            x = nn.avg_pool(nn.relu(nn.Conv(width, (3, 3), dtype=self.dtype)(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Dense(256, dtype=self.dtype)(x.reshape(len(x), -1)))
        return nn.Dense(self.classes, dtype=self.dtype)(x), {}


def stride_1_stem(conv: layers.Layer) -> layers.Layer:
    """`conv`, of stride 1 where it is the stem's: small images keep their size there, and MobileNetV2 has no field."""

    def build(features: int, kernel_size: tuple[int, ...], strides: int = 1, **fields: Any) -> nn.Module:
        return conv(features, kernel_size, 1 if fields["name"] == "stem_conv" else strides, **fields)

    return build


conv = partial(layers.Conv, conv_general_dilated=jax.lax.conv_general_dilated)
stem = partial(imagenet_stem, pool=partial(max_pool, window=3, strides=2, padding=1))
up = partial(nn.ConvTranspose, kernel_size=(2, 2), strides=(2, 2))
# For 32x32 images the stem and the second stage keep the size.
small_mobilenet = partial(mobilenet_v2, stages=(TABLE_2[0], TABLE_2[1]._replace(strides=1), *TABLE_2[2:]))


class Net(NamedTuple):
    """A network, `classes` -> module, in two versions."""

    project: Callable[..., nn.Module]
    flax: Callable[..., nn.Module]


NETS = {
    "mnist_cnn": Net(mnist_cnn.mnist_cnn, MnistCNN),
    "resnet18": Net(resnet18_small, partial(resnet18_small, conv=conv, norm=Norm)),
    "resnet20": Net(resnet20, partial(resnet20, conv=conv, norm=Norm)),
    "mobilenet_v2": Net(
        partial(small_mobilenet, conv=stride_1_stem(layers.Conv)),
        partial(small_mobilenet, conv=stride_1_stem(conv), norm=Norm),
    ),
    "resnet50": Net(resnet50, partial(resnet50, conv=conv, norm=Norm, stem=stem)),
    "m5": Net(m5, partial(m5, conv=conv, norm=Norm, pool=max_pool)),
    "unet": Net(unet_small, partial(unet_small, conv=conv, norm=Norm, pool=max_pool, up=up)),
}


def prepare(job: dict[str, Any]) -> tuple[dict[str, Any], Modes]:
    devices = mesh.choose_devices(0, job["batch"])
    net: nn.Module = getattr(NETS[job["workload"]], job["variant"])(
        classes=job["classes"], dtype=jnp.dtype(job["precision"])
    )
    shape = tuple(job["shape"])
    places = trace(net, shape).outputs["logits"].shape[1:-1]  # those that have a class: one, or all pixels
    facts = {
        "version": f"jax {jax.__version__}, flax {flax.__version__}",
        "devices": len(devices),
        "params": count_params(net, shape),
        "macs": count_macs(net, shape),
    }
    draw = np.random.default_rng(0)
    batch = {
        "image": draw.normal(size=(job["batch"], *shape)).astype(np.float32),
        "label": draw.integers(job["classes"], size=(job["batch"], *places), dtype=np.int32),
    }
    if job["variant"] == "project":
        modes = project(net, batch, job["lr"], devices, partitioned=job["partitioned"])
    else:
        modes = stock(net, batch, job["lr"], devices)
    return facts, modes | {"product": partial(product, job["product"])}


def project(
    net: nn.Module, host_batch: Mapping[str, np.ndarray], lr: float, devices: list[jax.Device], *, partitioned: bool
) -> Modes:
    """The project's step and prediction."""
    if partitioned:  # as fsdp is compiled, with no array so large that it would be sharded
        mesh.SMALLEST_SHARDED = sys.maxsize
    targets = {1: "label", 3: "class_map"}
    fields: Fields = {
        "image": Field(
            "image" if host_batch["image"].ndim == 4 else "signal", host_batch["image"].shape[1:], "float32"
        ),
        "label": Field(targets[host_batch["label"].ndim], host_batch["label"].shape[1:], "int32"),  # type: ignore[arg-type]
    }
    task = _task(net, host_batch["image"].shape[1:])
    optimizer = optax.sgd(lr, MOMENTUM)
    state = state_of.create(jax.jit(task.init)(jax.random.key(0)), optimizer, ema=False, loss_scale=False)
    step = partial(train_step, task=task, optimizer=optimizer, augment=identity, settings=Settings())
    engine = mesh.build(
        step, state, jax.random.key(1), fields, parallel="fsdp" if partitioned else "jit", devices=devices
    )
    predict = mesh.forward(task.predict, fields, devices)
    host_batch = {**host_batch, VALID: np.ones(len(host_batch["label"]), np.float32)}
    state, batch = engine.place(state), engine.place_batch(host_batch)

    def train() -> Any:
        nonlocal state
        state, fetch = engine.step(state, batch)
        return fetch

    return {
        "train": partial(_repeat, train, wait=lambda fetch: fetch()),
        "forward": partial(_repeat, lambda: predict(engine.variables(state), batch)),
    }


def _task(net: nn.Module, shape: tuple[int, ...]) -> Task:
    """Cross-entropy of a class for each example, or for each pixel."""

    def init(key: jax.Array) -> Variables:
        return net.init(key, jnp.zeros((1, *shape)), train=False)

    def loss(variables: Variables, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, Any, Any]:
        state = [name for name in variables if name != "params"]
        (logits, _), new = net.apply(variables, batch["image"], train=train, rngs={"dropout": key}, mutable=state)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), batch["label"])
        return losses.mean(), new, {"loss": (losses.sum(), jnp.float32(losses.size))}

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        return {"logits": net.apply(variables, batch["image"], train=False)[0]}

    nothing = Evaluator(dict, lambda totals, *_: totals, lambda a, _: a, lambda _: Scores({}, {}))
    return Task(init, loss, predict, nothing, headline="", report="")


def stock(net: nn.Module, host_batch: Mapping[str, np.ndarray], lr: float, devices: list[jax.Device]) -> Modes:
    """The step that Flax's examples have: a TrainState, value_and_grad, apply_gradients."""
    over = Mesh(np.asarray(devices), ("batch",))
    everywhere, split = NamedSharding(over, PartitionSpec()), NamedSharding(over, PartitionSpec("batch"))
    image = host_batch["image"]
    variables = jax.jit(partial(net.init, train=False))(jax.random.key(0), image[:1])
    state = TrainState.create(apply_fn=net.apply, params=variables["params"], tx=optax.sgd(lr, MOMENTUM))
    statistics = variables.get("batch_stats", {})
    (state, statistics), batch = jax.device_put((state, statistics), everywhere), jax.device_put(host_batch, split)
    key = jax.random.key(1)

    @partial(jax.jit, donate_argnums=(0, 1), out_shardings=everywhere)
    def step(state: TrainState, statistics: Any, batch: Arrays) -> tuple[TrainState, Any, jax.Array]:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            (logits, _), new = state.apply_fn(
                {"params": params, "batch_stats": statistics},
                batch["image"],
                train=True,
                rngs={"dropout": jax.random.fold_in(key, state.step)},
                mutable=["batch_stats"],
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean(), new

        (value, new), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        return state.apply_gradients(grads=grads), new.get("batch_stats", {}), value

    @partial(jax.jit, out_shardings=split)
    def predict(params: Any, statistics: Any, batch: Arrays) -> jax.Array:
        return net.apply({"params": params, "batch_stats": statistics}, batch["image"], train=False)[0]

    def train() -> jax.Array:
        nonlocal state, statistics
        state, statistics, value = step(state, statistics, batch)
        return value

    return {
        "train": partial(_repeat, train),
        "forward": partial(_repeat, lambda: predict(state.params, statistics, batch)),
    }


def _repeat(call: Callable[[], Any], steps: int, wait: Callable[[Any], Any] = jax.block_until_ready) -> None:
    before = None
    for _ in range(steps):
        # As in the project's loop, at most two steps are under way: more of them lock XLA's CPU devices out.
        now = call()
        if before is not None:
            wait(before)
        before = now
    wait(before)


def product(size: int, steps: int) -> None:
    """Products of two [size, size] matrices, the rows of the first split over all devices."""
    x, y = matrices(size)
    _repeat(lambda: multiply(x, y), steps)


multiply = jax.jit(jnp.matmul)


@cache
def matrices(size: int) -> tuple[jax.Array, jax.Array]:
    over = Mesh(np.asarray(jax.devices()), ("batch",))
    x, y = jax.random.normal(jax.random.key(0), (2, size, size))
    return jax.device_put(x, NamedSharding(over, PartitionSpec("batch"))), jax.device_put(
        y, NamedSharding(over, PartitionSpec())
    )


if __name__ == "__main__":
    serve(prepare)
