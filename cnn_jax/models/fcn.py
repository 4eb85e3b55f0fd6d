"""FCN (Long, Shelhamer & Darrell 2015, arXiv:1411.4038) on dilated residual networks, as torchvision publishes it."""

from functools import partial

from cnn_jax.models.encoder_decoder import EncoderDecoder
from cnn_jax.models.resnet import resnet50, resnet101
from cnn_jax.models.variant import Preprocessing, Variant

# Of what torchvision trained on images of COCO for the classes of VOC and the background. It has no limit for the long
# side; here is one, so that no picture takes more memory than 4 of 520x520.
VOC_IMAGES = Preprocessing((520, 2080), resize="short_side", multiple=1)
_voc = partial(Variant, input_shape=(520, 520, 3), classes=21, preprocessing=VOC_IMAGES)
_net = partial(EncoderDecoder, multiple=1, aux="stage3")

fcn_resnet50 = _voc(
    build=partial(_net, backbone=resnet50),
    params=35_322_218,
    macs=152_716_512_000,
    source="Long et al. 2015, arXiv:1411.4038, on a backbone of Chen et al. 2017, arXiv:1706.05587, section 3.1",
    reference="torchvision:fcn_resnet50",
)
fcn_resnet101 = _voc(
    build=partial(_net, backbone=resnet101),
    params=54_314_346,
    macs=232_737_606_400,
    source="Long et al. 2015, arXiv:1411.4038, on a backbone of Chen et al. 2017, arXiv:1706.05587, section 3.1",
    reference="torchvision:fcn_resnet101",
)
