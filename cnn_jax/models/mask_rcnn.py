"""Mask R-CNN (He et al. 2017, arXiv:1703.06870): Faster R-CNN that also says which pixels of a box are covered."""

from functools import partial

from cnn_jax.models.faster_rcnn import FasterRCNN, fasterrcnn_resnet50_fpn_v2, resnet_coco
from cnn_jax.models.layers import BatchNorm
from cnn_jax.models.roi_heads import MaskHead

maskrcnn_resnet50_fpn = resnet_coco(
    build=partial(FasterRCNN, mask_head=MaskHead),
    params=44_454_513,
    macs=187_586_351_616,
    source="He et al. 2017, arXiv:1703.06870, figure 4, right",
    reference="torchvision:maskrcnn_resnet50_fpn",
)
maskrcnn_resnet50_fpn_v2 = resnet_coco(
    build=partial(fasterrcnn_resnet50_fpn_v2.build, mask_head=partial(MaskHead, norm=BatchNorm)),
    params=46_359_409,
    macs=333_577_359_872,
    source="He et al. 2017, arXiv:1703.06870, as Li et al. 2021, arXiv:2111.11429, appendix, have it",
    reference="torchvision:maskrcnn_resnet50_fpn_v2",
)
