"""Writes oracles.npz, what Quantus 0.6 and captum 0.9 say of the cases below; neither is needed to run the tests.

python -m pip install quantus captum torch; python tests/explain/truth/make_oracles.py
"""

from pathlib import Path

import jax
import numpy as np

FILE = Path(__file__).with_name("oracles.npz")
SHAPE = (3, 9, 11, 2)
SAMPLES = 16


def cases() -> dict[str, np.ndarray]:
    """Inputs, maps, masks of objects and positions to remove, and the weights of `score`."""
    draw = np.random.default_rng(0)
    maps = draw.normal(size=SHAPE[:-1])
    maps[2] = np.round(maps[2])  # with ties
    masks = np.zeros(SHAPE[:-1], bool)
    for row, (top, left, tall, wide) in enumerate([(0, 0, 4, 3), (2, 5, 3, 6), (6, 1, 3, 3)]):
        masks[row, top : top + tall, left : left + wide] = True
    gone = draw.random(SHAPE[:-1]) < np.array([0.2, 0.6, 0.9])[:, None, None]
    gone[0, 3:8, 0:6] = True
    arrays = {"x": draw.normal(size=SHAPE), "maps": maps, "weights": draw.normal(size=SHAPE[1:])}
    return {name: value.astype(np.float32) for name, value in arrays.items()} | {"masks": masks, "gone": gone}


def score(x, weights, sin):  # type: ignore[no-untyped-def]
    """[B]: a score with a slope that changes. sin: of the library at hand."""
    axes = tuple(range(1, x.ndim))
    return (weights * x**2).sum(axes) + sin((weights * x).sum(axes))


def main() -> None:
    import quantus
    import torch
    from captum.metrics import infidelity, sensitivity_max
    from quantus.functions.perturb_func import noisy_linear_imputation

    from cnn_jax.explain.truth.agreement import squares

    found, case = {}, cases()
    maps, masks = case["maps"][:, None], case["masks"][:, None]  # channels first
    quiet = dict(disable_warnings=True, abs=False, normalise=False)
    for name, metric in (("sparseness", quantus.Sparseness), ("complexity", quantus.Complexity)):
        found[name] = metric(**quiet).evaluate_batch(x_batch=None, a_batch=np.abs(maps).astype(np.float64))
    found["rank"] = quantus.RelevanceRankAccuracy(**quiet).evaluate_batch(a_batch=maps, s_batch=masks)
    found["mass"] = quantus.RelevanceMassAccuracy(**quiet).evaluate_batch(a_batch=np.maximum(maps, 0), s_batch=masks)
    found["pointing"] = quantus.PointingGame(**quiet).evaluate_batch(a_batch=maps, s_batch=masks)
    constant = np.ones_like(maps)
    found["pointing_of_a_constant"] = quantus.PointingGame(**quiet).evaluate_batch(a_batch=constant, s_batch=masks)
    found["imputed"] = [
        noisy_linear_imputation(image.transpose(2, 0, 1).astype(np.float64), np.flatnonzero(gone), noise=0.0)
        for image, gone in zip(case["x"], case["gone"], strict=True)
    ]

    def f(x: torch.Tensor) -> torch.Tensor:
        return score(x, torch.from_numpy(case["weights"]), torch.sin)

    @torch.enable_grad()
    def gradient(x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(f(x).sum(), x)[0]

    keys = jax.random.split(jax.random.key(0), SAMPLES)
    drawn = np.stack([squares(key, SHAPE[:-1], 2) for key in keys], 1).reshape(-1, *SHAPE[1:-1], 1)
    noise = np.stack([jax.random.uniform(key, SHAPE, "float32", -0.02, 0.02) for key in keys], 1)
    x = torch.from_numpy(case["x"])

    def removed(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        change = torch.from_numpy(drawn) * x
        return change, x - change

    for name, normalize in (("infidelity", False), ("infidelity_scaled", True)):
        found[name] = infidelity(f, removed, x, gradient(x), n_perturb_samples=SAMPLES, normalize=normalize).detach()
    # captum hands over an input or a tuple of one, and takes maps in a tuple alone.
    alone = lambda x: x[0] if isinstance(x, tuple) else x  # noqa: E731
    near = lambda x, radius: alone(x) + torch.from_numpy(noise.reshape(-1, *SHAPE[1:]))  # noqa: E731
    own = lambda x: (gradient(alone(x)),)  # noqa: E731
    found["sensitivity"] = sensitivity_max(own, x, near, n_perturb_samples=SAMPLES).detach()
    np.savez_compressed(FILE, **{name: np.asarray(value, np.float64) for name, value in found.items()})
    print({name: np.asarray(value, float).round(4).tolist() for name, value in found.items() if name != "imputed"})


if __name__ == "__main__":
    main()
