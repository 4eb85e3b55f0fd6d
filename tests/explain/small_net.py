"""A small residual network, in NumPy, JAX and PyTorch alike: what outside libraries' attributions were stored for.

`python tests/explain/small_net.py` writes small_net.npz beside it, with captum 0.9, zennit 0.5.1, grad-cam 1.5.7 and
torch 2.14; the tests need none of them.
"""

from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
LABELS = np.array([1, 3])
BOX = (-3.0, 3.0)  # of the z-box rule


def arrays() -> dict[str, np.ndarray]:
    """x [2, 12, 12, 3], and kernels [H, W, in, out] with the scale and shift of a norm behind each."""
    draw = np.random.default_rng(0)
    found = {"x": draw.uniform(-2, 2, (2, 12, 12, 3))}
    for name, wide, deep in (("a", 3, 8), ("b", 8, 8), ("c", 8, 8)):
        found |= {
            f"{name}_kernel": draw.normal(0, (2 / (9 * wide)) ** 0.5, (3, 3, wide, deep)),
            f"{name}_scale": draw.uniform(0.5, 1.5, deep),
            f"{name}_bias": draw.normal(0, 0.2, deep),
            f"{name}_mean": draw.normal(0, 0.2, deep),
            f"{name}_var": draw.uniform(0.5, 1.5, deep),
        }
    return found | {"dense": draw.normal(0, 0.5, (8, 5)), "dense_bias": draw.normal(0, 0.2, 5)}


def layered(w: Any, x: Any, residual: bool = True) -> Any:
    """(logits [2, 5], {"c": [2, 6, 6, 8]}) in JAX."""
    import jax
    import jax.numpy as jnp

    def conv(name: str, x: Any) -> Any:
        numbers = jax.lax.conv_dimension_numbers(x.shape, w[f"{name}_kernel"].shape, ("NHWC", "HWIO", "NHWC"))
        y = jax.lax.conv_general_dilated(x, w[f"{name}_kernel"], (1, 1), "SAME", dimension_numbers=numbers)
        slope = w[f"{name}_scale"] / jnp.sqrt(w[f"{name}_var"] + 1e-5)
        return (y - w[f"{name}_mean"]) * slope + w[f"{name}_bias"]

    y = jax.nn.relu(conv("a", x))
    y = jax.nn.relu(conv("b", y) + y if residual else conv("b", y))
    y = y.reshape(len(y), 6, 2, 6, 2, 8).mean((2, 4))
    y = jax.nn.relu(conv("c", y))
    logits = y.mean((1, 2)) @ w["dense"] + w["dense_bias"]
    return logits, {"c": y}


def _store() -> None:
    import captum.attr as captum
    import pytorch_grad_cam as pgc
    import torch
    from captum.attr._utils.lrp_rules import EpsilonRule
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torch import nn
    from zennit import composites, layer
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm

    torch.set_default_dtype(torch.float64)
    w = arrays()
    t = lambda name: torch.tensor(w[name])  # noqa: E731

    def conv(name: str) -> nn.Sequential:
        kernel = w[f"{name}_kernel"]
        one = nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, padding=1, bias=False)
        norm = nn.BatchNorm2d(kernel.shape[3])
        one.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
        norm.weight.data, norm.bias.data = t(f"{name}_scale"), t(f"{name}_bias")
        norm.running_mean, norm.running_var = t(f"{name}_mean"), t(f"{name}_var")
        return nn.Sequential(one, norm)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = conv("a"), conv("b"), conv("c")
            self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
            self.sum, self.pool, self.mean, self.flat = layer.Sum(), nn.AvgPool2d(2), nn.AvgPool2d(6), nn.Flatten()
            self.dense = nn.Linear(8, 5)
            self.dense.weight.data, self.dense.bias.data = t("dense").T.contiguous(), t("dense_bias")

        def forward(self, x: Any) -> Any:
            y = self.relu1(self.a(x))
            y = self.relu2(self.sum(torch.stack([self.b(y), y], dim=-1)))
            y = self.relu3(self.c(self.pool(y)))
            return self.dense(self.flat(self.mean(y)))

    class Plain(Net):
        """captum's LRP has no rule for the module that adds."""

        def forward(self, x: Any) -> Any:
            y = self.relu1(self.a(x))
            y = self.relu2(self.b(y) + y)
            y = self.relu3(self.c(self.pool(y)))
            return self.dense(self.flat(self.mean(y)))

    class Chain(Net):
        def forward(self, x: Any) -> Any:
            y = self.relu2(self.b(self.relu1(self.a(x))))
            y = self.relu3(self.c(self.pool(y)))
            return self.dense(self.flat(self.mean(y)))

    net, plain, chain = Net().eval(), Plain().eval(), Chain().eval()
    x = torch.tensor(w["x"].transpose(0, 3, 1, 2).copy())
    labels = torch.tensor(LABELS)
    last = lambda a: np.moveaxis(a.detach().numpy(), 1, -1)  # noqa: E731
    chosen = net(x)[range(2), labels]
    found = {"score": chosen.detach().numpy(), "logits": net(x).detach().numpy()}
    say = lambda name, attribution: found.update({name: last(attribution)})  # noqa: E731
    say("captum_gradient", captum.Saliency(plain).attribute(x, labels, abs=False))
    say("captum_input_x_gradient", captum.InputXGradient(plain).attribute(x, labels))
    say("captum_integrated_gradients", captum.IntegratedGradients(plain).attribute(x, target=labels))
    trapezoid = captum.IntegratedGradients(plain).attribute(x, target=labels, method="riemann_trapezoid")
    found["captum_trapezoid_sum"] = trapezoid.sum((1, 2, 3)).numpy()
    say("captum_guided_backprop", captum.GuidedBackprop(plain).attribute(x, labels))
    say("captum_deconvnet", captum.Deconvolution(plain).attribute(x, labels))
    say("captum_deep_lift", captum.DeepLift(plain).attribute(x, target=labels))
    softmax = nn.Sequential(plain, nn.Softmax(1))
    together = captum.DeepLift(softmax).attribute(x, target=labels).sum((1, 2, 3))
    found["captum_softmax_sums"] = together.detach().numpy()
    say(
        "captum_occlusion",
        captum.Occlusion(plain).attribute(x, target=labels, sliding_window_shapes=(3, 5, 5), strides=(3, 3, 3))[:, :1],
    )
    for part in [*plain.modules(), *chain.modules()]:
        part.rule = EpsilonRule(epsilon=1e-9)
    say("captum_lrp_of_the_chain", captum.LRP(chain).attribute(x, target=labels))
    found["captum_lrp_sums"] = captum.LRP(plain).attribute(x, target=labels).sum((1, 2, 3)).detach().numpy()

    def relevance(composite: Any) -> Any:
        seed = torch.zeros(2, 5)
        seed[range(2), labels] = chosen.detach()
        with Gradient(net, composite) as attributor:
            return attributor(x, seed)[1]

    merge = [SequentialMergeBatchNorm()]
    say("zennit_epsilon_plus", relevance(composites.EpsilonPlus(canonizers=merge)))
    say("zennit_epsilon_plus_flat", relevance(composites.EpsilonPlusFlat(canonizers=merge)))
    say("zennit_epsilon_alpha2_beta1", relevance(composites.EpsilonAlpha2Beta1(canonizers=merge)))
    say("zennit_epsilon_alpha2_beta1_flat", relevance(composites.EpsilonAlpha2Beta1Flat(canonizers=merge)))
    low, high = torch.full_like(x, BOX[0]), torch.full_like(x, BOX[1])
    say("zennit_epsilon_gamma_box", relevance(composites.EpsilonGammaBox(low=low, high=high, canonizers=merge)))
    say("zennit_unmerged", relevance(composites.EpsilonPlus()))

    wanted = [ClassifierOutputTarget(int(label)) for label in LABELS]
    for name, kind in {
        "grad_cam": pgc.GradCAM, "grad_cam_plus_plus": pgc.GradCAMPlusPlus, "hires_cam": pgc.HiResCAM,
        "layer_cam": pgc.LayerCAM, "xgrad_cam": pgc.XGradCAM, "eigen_cam": pgc.EigenCAM,
        "eigen_grad_cam": pgc.EigenGradCAM, "ablation_cam": pgc.AblationCAM, "score_cam": pgc.ScoreCAM,
    }.items():  # fmt: skip
        found[f"pgc_{name}"] = kind(plain, [plain.relu3])(x, wanted)
    np.savez_compressed(FILE, **{name: np.asarray(array, np.float32) for name, array in found.items()})


if __name__ == "__main__":
    _store()
