"""Optimizers from Optax under one signature: (learning-rate schedule, weight decay) -> gradient transformation.

Weight decay touches kernels and embeddings, never norms, biases and gains: see `decayed`.
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

# By the last part of a name: of norms, of gates and layer scales, and of what is added. Gains of weight-standardised
# kernels are [C, 1, 1, 1] and some biases have a place, [H, W, C], so that the number of dimensions does not tell.
NEVER_DECAYED = re.compile(r"(.*_)?(bias|scale|gain|gamma|beta|offset|tau|v)")
KERNELS = ("kernel", "embedding")
LAST = "classifier/kernel"


def decayed(params: Any) -> Any:
    """True for the arrays which weight decay applies to.

    These are what is called a kernel or an embedding, and of other names what is a matrix at least: more than one axis
    is longer than 1, and it is not called as norms, biases and gains are.
    """

    def decays(path: Any, p: Any) -> bool:
        name = jax.tree_util.keystr(path[-1:], simple=True)
        if name in KERNELS:
            return p.ndim > 1
        return sum(size > 1 for size in p.shape) > 1 and not NEVER_DECAYED.fullmatch(name)

    return jax.tree.map_with_path(decays, params)


def _check_shares(**shares: float) -> None:
    """Raises ValueError for an average that forgets nothing, or grows."""
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"{name} = {share} must be at least 0 and below 1")


def sgd(
    lr: optax.Schedule, weight_decay: float, *, momentum: float = 0.9, nesterov: bool = True
) -> optax.GradientTransformation:
    """Momentum SGD; decay is L2, added to the gradient (Sutskever et al. 2013)."""
    _check_shares(momentum=momentum)
    descent = optax.sgd(lr, momentum=momentum or None, nesterov=nesterov)
    return optax.chain(optax.add_decayed_weights(weight_decay, decayed), descent) if weight_decay else descent


def adam(
    lr: optax.Schedule, weight_decay: float, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam; decay is L2, added to the gradient (Kingma & Ba 2015)."""
    _check_shares(b1=b1, b2=b2)
    descent = optax.adam(lr, b1, b2, eps)
    return optax.chain(optax.add_decayed_weights(weight_decay, decayed), descent) if weight_decay else descent


def adamw(
    lr: optax.Schedule, weight_decay: float, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam with decoupled decay (Loshchilov & Hutter 2019)."""
    _check_shares(b1=b1, b2=b2)
    return optax.adamw(lr, b1, b2, eps, weight_decay=weight_decay, mask=decayed)


def lion(lr: optax.Schedule, weight_decay: float, *, b1: float = 0.9, b2: float = 0.99) -> optax.GradientTransformation:
    """The sign of a momentum (Chen et al. 2023); takes a learning rate 3 to 10 times smaller than Adam's."""
    _check_shares(b1=b1, b2=b2)
    return optax.lion(lr, b1, b2, weight_decay=weight_decay, mask=decayed)


def lamb(
    lr: optax.Schedule, weight_decay: float, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6
) -> optax.GradientTransformation:
    """Adam with a trust ratio per array, for very large batches (You et al. 2020)."""
    _check_shares(b1=b1, b2=b2)
    return optax.lamb(lr, b1, b2, eps, weight_decay=weight_decay, mask=decayed)


def adadelta(
    lr: optax.Schedule, weight_decay: float, *, rho: float = 0.95, eps: float = 1e-6, max_norm: float = 0.0
) -> optax.GradientTransformation:
    """Adadelta, whose published rate is 1; decay is L2, added to the gradient (Zeiler 2012, arXiv:1212.5701).

    max_norm: of the weights of each class in the last layer, to which they are cut after a step (Kim 2014, section
    2.1); 0 for none.
    """
    _check_shares(rho=rho)
    if max_norm < 0:
        raise ValueError(f"max_norm = {max_norm} must be at least 0")
    descent = optax.adadelta(lr, rho, eps, weight_decay=weight_decay, weight_decay_mask=decayed)
    return optax.chain(descent, optax.stateless(_held_to(max_norm))) if max_norm else descent


def _held_to(max_norm: float) -> Callable[[Any, Any], Any]:
    """(updates, params) -> updates after which no column of the last layer's kernel is longer than this."""

    def cut(path: Any, update: jax.Array, param: jax.Array) -> jax.Array:
        if jax.tree_util.keystr(path, simple=True, separator="/") != LAST:
            return update
        after = param + update
        length = jnp.sqrt(jnp.square(after).sum(tuple(range(after.ndim - 1))))
        return after * jnp.minimum(1, max_norm / jnp.maximum(length, 1e-12)) - param

    return lambda updates, params: jax.tree.map_with_path(cut, updates, params)


def muon(
    lr: optax.Schedule, weight_decay: float, *, momentum: float = 0.95, adam_lr: float = 0.1, iterations: int = 5
) -> optax.GradientTransformation:
    """Orthogonalised momentum for convolution kernels, AdamW for everything else (Jordan et al. 2024).

    A kernel [..., in, out] counts as the matrix [... x in, out]. AdamW learns at `adam_lr` times the rate.
    """

    _check_shares(momentum=momentum)

    def matrices(params: Any) -> Any:
        return jax.tree.map(lambda p: contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1), params)

    kernels = contrib.muon(
        lr, beta=momentum, ns_steps=iterations, weight_decay=weight_decay, muon_weight_dimension_numbers=matrices
    )
    # Not contrib.muon's own Adam, which would decay norms and biases too.
    rest = adamw(lambda step: adam_lr * lr(step), weight_decay)
    return optax.partition(
        {"kernel": kernels, "rest": rest},
        lambda params: jax.tree.map(lambda p, d: "kernel" if d and p.ndim > 2 else "rest", params, decayed(params)),
    )
