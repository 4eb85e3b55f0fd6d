"""Two small networks that name the pattern planted in a digit, trained alike from two seeds; kept in planted.npz.

python tests/explain/planted.py trains them again, in a minute. Accuracy on the test half: .978 and .960.
"""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.data.planted_patch import planted_patch
from cnn_jax.data.source import Splits

FILE = Path(__file__).with_suffix(".npz")
STEPS, BATCH = 200, 64


class Net(nn.Module):
    """[B, 8, 8, 1] -> logits [B, 4]: four convolutions without pooling, and the mean over positions."""

    classes: int = 4

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        features = {}
        for number in range(4):
            x = features[f"stage{number}"] = nn.relu(nn.Conv(12, (3, 3), name=f"conv{number}")(x))
        features["pooled"] = x.mean((1, 2))
        return nn.Dense(self.classes, name="classifier")(features["pooled"]), features


def splits() -> Splits:
    """Patches of 3 x 3 pixels in images of 8 x 8."""
    return planted_patch("digits", side=3)


def read(images: np.ndarray) -> np.ndarray:
    """Bytes as the networks read them."""
    return (images / 255 - 0.3).astype(np.float32)


def variables() -> list[Any]:
    """Those of the two networks."""
    stored = np.load(FILE)
    trees = ({name[2:]: stored[name].astype(np.float32) for name in stored if name[0] == seed} for seed in "01")
    return [unflatten_dict(tree, sep="/") for tree in trees]


def _train() -> None:
    train = splits()["train"]
    batch = train.batch(np.arange(len(train)))
    x, y = jnp.asarray(read(batch["image"])), jnp.asarray(batch["label"])
    net, optimizer = Net(), optax.adam(3e-3)

    @jax.jit
    def trained(seed: jax.Array) -> Any:
        key = jax.random.key(seed)

        def step(state: Any, key: jax.Array) -> tuple[Any, None]:
            rows = jax.random.randint(key, (BATCH,), 0, len(x))

            def loss(params: Any) -> jax.Array:
                logits, _ = net.apply(params, x[rows], train=False)
                return optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]).mean()

            updates, memory = optimizer.update(jax.grad(loss)(state[0]), state[1])
            return (optax.apply_updates(state[0], updates), memory), None

        params = net.init(key, x[:1], train=False)
        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, STEPS))[0][0]

    found = {}
    for seed in (0, 1):
        flat = flatten_dict(jax.device_get(trained(seed)), sep="/")
        found |= {f"{seed}/{name}": value.astype(np.float16) for name, value in flat.items()}
    np.savez_compressed(FILE, **found)
    test = splits()["test"].batch(np.arange(899))
    for tree in variables():
        logits = jax.jit(lambda tree: net.apply(tree, read(test["image"]), train=False)[0])(tree)
        print(f"accuracy {(np.asarray(logits).argmax(-1) == test['label']).mean():.3f}")


if __name__ == "__main__":
    _train()
