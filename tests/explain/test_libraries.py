"""Every method against captum, zennit or pytorch-grad-cam on one small network: stored, see small_net.py."""

import jax
import numpy as np
import pytest

from cnn_jax.explain import cams, lrp_rules
from cnn_jax.explain.attribution import gradient
from cnn_jax.explain.gradients import deconvnet, deep_lift, guided_backprop
from cnn_jax.explain.methods import METHODS, SLOPES, Asked
from cnn_jax.explain.perturbation import occlusion
from cnn_jax.explain.relevance import COMPOSITES, Composite, lrp
from cnn_jax.explain.sampled import input_x_gradient, integrated_gradients
from tests.explain import small_net

GAMMA_BOX = Composite(
    conv=lrp_rules.gamma,
    first=lambda *args: lrp_rules.z_box(*args, low=small_net.BOX[0], high=small_net.BOX[1]),
)


def test_the_methods_of_captum_and_zennit(small, jit):
    """Relative to the largest number. LRP's differ by where the libraries add epsilon, of a layer or a merged one."""
    f, x, stored = small.f, small.x, small.stored

    def everything(x):
        return {
            "captum_gradient": gradient(f, x),
            "captum_input_x_gradient": input_x_gradient(f, x),
            "captum_integrated_gradients": integrated_gradients(f, x),
            "captum_guided_backprop": guided_backprop(f, x),
            "captum_deconvnet": deconvnet(f, x),
            "captum_deep_lift": deep_lift(f, x),
            "captum_occlusion": occlusion(f, x, window=5, stride=3)[..., None],
            "captum_lrp_of_the_chain": lrp(lambda x: small.pick(small.logits(x, residual=False)[0]), x),
            "zennit_epsilon_plus": lrp(f, x, composite=COMPOSITES["epsilon_plus"]),
            "zennit_epsilon_plus_flat": lrp(f, x, composite=COMPOSITES["epsilon_plus_flat"]),
            "zennit_epsilon_alpha2_beta1": lrp(f, x, composite=COMPOSITES["epsilon_alpha2_beta1"]),
            "zennit_epsilon_alpha2_beta1_flat": lrp(f, x, composite=COMPOSITES["epsilon_alpha2_beta1_flat"]),
            "zennit_epsilon_gamma_box": lrp(f, x, composite=GAMMA_BOX),
        }

    def softmax(x):
        return small.pick(jax.nn.softmax(small.logits(x)[0]))

    def sums(x):
        change = [g(x) - g(0 * x) for g in (softmax, f)]
        return deep_lift(softmax, x).sum((1, 2, 3)), *change, f(x)

    found, (mine, soft, change, score) = jax.device_get(jit(lambda x: (everything(x), sums(x)))(x))
    assert stored["score"] == pytest.approx(score, rel=1e-6)
    for name, ours in found.items():
        error = np.abs(ours - stored[name]).max() / np.abs(stored[name]).max()
        assert error < (1e-4 if "lrp" in name or "zennit" in name else 1e-6), (name, error)
    # What they say and is not to be matched: zennit's relevance without merged norms, captum's trapezoid.
    plus = found["zennit_epsilon_plus"]
    assert np.abs(stored["zennit_unmerged"] - plus).max() > 0.1 * np.abs(plus).max()
    assert found["captum_integrated_gradients"].sum((1, 2, 3)) == pytest.approx(change, rel=2e-2)
    assert found["captum_deep_lift"].sum((1, 2, 3)) == pytest.approx(change, rel=1e-12)
    # a sum that is no module: captum gives all of its relevance to both parts, here .16 in all for a score of -.80
    assert np.abs(stored["captum_lrp_sums"] - stored["zennit_epsilon_plus"].sum((1, 2, 3))).max() > np.abs(score).max()
    assert mine == pytest.approx(soft, rel=1e-9)
    assert np.abs(stored["captum_softmax_sums"] - soft).max() > 0.05 * np.abs(soft).max()
    assert stored["captum_trapezoid_sum"] == pytest.approx(0.98 * change, rel=2e-2)


def test_the_maps_of_pytorch_grad_cam(small, jit):
    """It brings maps to [0, 1] before it enlarges them, and after."""

    def scaled(found):
        found = found - found.min((1, 2), keepdims=True)
        return found / (1e-7 + found.max((1, 2), keepdims=True))

    def everything(x):
        kinds = {
            "grad_cam": cams.grad_cam,
            "grad_cam_plus_plus": cams.grad_cam_plus_plus,
            "hires_cam": cams.hires_cam,
            "layer_cam": cams.layer_cam,
            "xgrad_cam": cams.xgrad_cam,
            "eigen_grad_cam": cams.eigen_grad_cam,
            "eigen_cam": lambda a, g: cams.eigen_cam(a, g, "pytorch_grad_cam"),
        }
        found = {name: cams.cam(small.g, x, "c", weigh) for name, weigh in kinds.items()}
        found["ablation_cam"] = cams.ablation_cam(small.g, x, "c")
        found["score_cam"] = cams.score_cam(small.f, small.g, x, "c", variant="pytorch_grad_cam")
        return {name: scaled(found) for name, found in found.items()}

    found = jax.device_get(jit(everything)(small.x))
    signs = np.asarray(small.stored["score"])
    for name, ours in found.items():
        theirs = small.stored[f"pgc_{name}"]
        for k in range(2):
            if name == "ablation_cam" and signs[k] < 0:  # theirs turns all signs where the logit is negative
                continue
            if name.startswith("eigen") and not np.allclose(ours[k], theirs[k], atol=1e-3):  # its sign is left open
                continue
            atol = 0.02 if name == "score_cam" else 2e-5  # its masks are enlarged by the corners of the maps
            np.testing.assert_allclose(ours[k], theirs[k], atol=atol, err_msg=f"{name} {k}")


def test_guided_grad_cam_is_guided_backpropagation_by_the_map(small, jit):
    """And a slope, as that is: how much a number counts is its size."""
    x, nothing = small.x, np.zeros(())

    def both(x):
        asked = Asked(small.f, small.f, small.g, "c", 0 * x, x, nothing, 1, jax.random.key(0))
        return METHODS["guided_grad_cam"].run(asked, x), cams.cam(small.g, x, "c", cams.grad_cam)

    found, map_ = jax.device_get(jit(both)(x))
    assert (found < 0).any() and {"guided_grad_cam", "guided_backprop"} <= SLOPES
    np.testing.assert_allclose(found, small.stored["captum_guided_backprop"] * map_[..., None], atol=1e-9)
