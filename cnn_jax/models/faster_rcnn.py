"""Faster R-CNN (Ren et al. 2015, arXiv:1506.01497) on a feature pyramid (Lin et al. 2017, arXiv:1612.03144).

A first stage proposes boxes that may hold an object; a second one says of each what it holds, and corrects the box; a
mask head, where there is one, says which pixels of it the object covers (Mask R-CNN, He et al. 2017, arXiv:1703.06870).
As torchvision has them: the background is the first of the outputs, those of `classes` objects follow.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models import roi_heads, rpn
from cnn_jax.models.detector import Detections, Losses, Objects, whole
from cnn_jax.models.heads import Features, features_of
from cnn_jax.models.layers import Activation, BatchNorm, Conv, Layer
from cnn_jax.models.mobilenet_v3 import mobilenet_v3_large
from cnn_jax.models.necks import FPN, at_strides, pooled
from cnn_jax.models.output_stride import stride_between
from cnn_jax.models.resnet import resnet50
from cnn_jax.models.roi_heads import BoxHead, Classifier, Masked, MaskHead, Seen
from cnn_jax.models.rpn import RPN, Draw, Keep, Looked, Sampled
from cnn_jax.models.variant import Preprocessing, Variant
from cnn_jax.ops.anchors import base_anchors, grid_anchors
from cnn_jax.ops.batch_axis import first_example

SIZES = ((32,), (64,), (128,), (256,), (512,))  # of anchors on each map, pixels
RATIOS = (0.5, 1.0, 2.0)  # height over width
GRID, MASK_GRID = 7, 14  # rows and columns of what is cut out for the second stage, and for masks


class Instances(NamedTuple):
    """Detections with masks: [B, K, M, M] in [0, 1], of an M x M grid over each box; see `ops.masks.pasted`."""

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array
    masks: jax.Array


class Raw(NamedTuple):
    """What the second stage says of R boxes of each image, of which some are `valid` [B, R]: proposals.

    looked, sample: where objects are given, the samples from which the first and the second stage learn; the boxes are
    the latter then. masked, instances: where there is a mask head, with objects and without.
    """

    seen: Seen
    valid: jax.Array
    looked: Looked | None = None
    sample: Sampled | None = None
    masked: Masked | None = None
    instances: Instances | None = None


class FasterRCNN(nn.Module):
    """[B, H, W, C] -> Raw.

    backbone: called with classes=None. maps: picks those of its features that the pyramid is made of. norm: of the
    backbone; None: its own. neck: the pyramid, of which the second stage reads all levels but the top. neck_norm: in
    it. anchor_sizes: of each level and the top. depth: convolutions of the first stage. head, mask_head: of the second.
    keep: the proposals that it looks at; learns: how many, of a level and in all, where objects are given. score,
    overlap, most: a detection is above this score, has at most this IoU with a better one of its class, and an image
    at most so many. draw: what decides the samples, see `balanced`; it is given a key for each example.
    """

    classes: int
    backbone: Layer = resnet50
    maps: Callable[[Features, jax.Array], list[jax.Array]] = partial(at_strides, strides=(4, 8, 16, 32))
    norm: Layer | None = None
    neck: Layer = FPN
    neck_norm: Layer | None = None
    anchor_sizes: tuple[tuple[int, ...], ...] = SIZES
    depth: int = 1
    head: Layer = BoxHead
    mask_head: Layer | None = None
    keep: Keep = Keep()
    learns: int = 2000
    score: float = 0.05
    overlap: float = 0.5
    most: int = 100
    draw: Draw = jax.random.uniform
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, content: jax.Array | None = None, objects: Objects | None = None
    ) -> Raw:
        norm = {"norm": self.norm} if self.norm else {}
        backbone = self.backbone(classes=None, conv=self.conv, dtype=self.dtype, name="backbone", **norm)
        neck = self.neck(top=pooled, norm=self.neck_norm, conv=self.conv, dtype=self.dtype, name="neck")
        levels = neck(self.maps(features_of(backbone(x, train=train)), x), train=train)

        each = len(RATIOS) * len(self.anchor_sizes[0])
        logits, deltas = RPN(each, self.depth, self.conv, self.act, self.dtype, name="rpn")(levels)
        size = (x.shape[1], x.shape[2])
        anchors = [
            jnp.asarray(grid_anchors(base_anchors(sizes, RATIOS), (level.shape[1], level.shape[2]), size))
            for level, sizes in zip(levels, self.anchor_sizes, strict=True)
        ]
        keep = Keep(*self.keep)  # text has it as a tuple
        if objects is not None:
            keep = keep._replace(candidates=self.learns, most=self.learns)
        content = whole(x) if content is None else content
        found = rpn.proposals(*jax.lax.stop_gradient((logits, deltas)), anchors, content, keep)

        boxes, valid, looked, sample = found.boxes, found.valid, None, None
        if objects is not None:
            looked = rpn.looked(logits, deltas, anchors, objects, self._rank(len(x), sum(map(len, anchors))))
            every = found.boxes.shape[1] + objects.boxes.shape[1]
            sample = roi_heads.looked(found, objects, self._rank(len(x), every))
            boxes, valid = sample.boxes, sample.counts
        strides = [stride_between(x, level) for level in levels[:-1]]
        seen = self.head(conv=self.conv, act=self.act, dtype=self.dtype, name="box_head")(
            roi_heads.cut(levels[:-1], strides, boxes, GRID), train=train
        )
        classifier = Classifier(1 + self.classes, self.conv, name="classifier")
        scores, shifts = (y.reshape(*valid.shape, *y.shape[1:]) for y in classifier(seen))
        raw = Raw(Seen(boxes, scores, shifts), valid, looked, sample)
        if self.mask_head is None:
            return raw

        head = self.mask_head(conv=self.conv, act=self.act, dtype=self.dtype, name="mask_head")

        def masks(boxes: jax.Array, labels: jax.Array) -> jax.Array:
            """Logits [B, N, M, M] of the masks of boxes [B, N, 4] for their labels [B, N]."""
            cut = roi_heads.cut(levels[:-1], strides, boxes, MASK_GRID)
            found = classifier.of_masks(head(cut, train=train))
            found = found.reshape(*labels.shape, *found.shape[1:])
            return jnp.take_along_axis(found, (labels + 1)[..., None, None, None], -1)[..., 0]

        if objects is None or sample is None:
            best = self._detections(raw, content)
            return raw._replace(instances=Instances(*best, nn.sigmoid(masks(best.boxes, best.labels))))
        if objects.instances is None:
            raise ValueError("a detector with a mask head learns from masks, and this data has none: no instance_map")
        good = roi_heads.with_objects(sample)
        labels = jnp.take_along_axis(objects.labels, jnp.maximum(good.objects, 0), 1)
        return raw._replace(masked=Masked(masks(good.boxes, labels), good))

    def _rank(self, batch: int, count: int) -> jax.Array:
        """[batch, count] drawn numbers, of each example by its position in the batch of all devices."""
        key = self.make_rng("sample")
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, first_example(batch) + jnp.arange(batch))
        return jax.vmap(lambda key: self.draw(key, (count,)))(keys)

    def losses(self, raw: Raw, objects: Objects) -> Losses:
        """The terms "objectness" and "proposals" of the first stage; "classes", "boxes" and "masks" of the second."""
        assert raw.looked is not None and raw.sample is not None
        found = {**rpn.losses(raw.looked, objects), **roi_heads.losses(raw.seen, raw.sample, objects)}
        return found if raw.masked is None else {**found, **roi_heads.mask_losses(raw.masked, objects)}

    def detections(self, raw: Raw, content: jax.Array) -> Detections | Instances:
        return self._detections(raw, content) if raw.instances is None else raw.instances

    def _detections(self, raw: Raw, content: jax.Array) -> Detections:
        return roi_heads.detections(
            raw.seen, raw.valid, content, score=self.score, overlap=self.overlap, most=self.most
        )


def mobile_maps(features: Features, image: jax.Array) -> list[jax.Array]:
    """Of MobileNetV3 what its block with the last stride makes, and its last map: both have a stride of 32."""
    del image
    return [features["block13"], features["block16"]]


_coco = partial(  # what is trained with the images of torchvision
    Variant,
    classes=90,
    source="Ren et al. 2015, arXiv:1506.01497, with Lin et al. 2017, arXiv:1612.03144, section 4",
)
_resnet_coco = partial(
    _coco,
    input_shape=(800, 800, 3),
    preprocessing=Preprocessing((800, 1333), resize="short_side", interpolation="sampled"),
)
_mobile = partial(
    FasterRCNN,
    backbone=partial(mobilenet_v3_large, inner=True),
    norm=BatchNorm,  # not with the epsilon and the momentum of the classifier
    maps=mobile_maps,
    anchor_sizes=((32, 64, 128, 256, 512),) * 3,
)

fasterrcnn_resnet50_fpn = _resnet_coco(
    build=partial(FasterRCNN),
    params=41_808_406,
    macs=134_379_721_216,
    reference="torchvision:fasterrcnn_resnet50_fpn",
)
# Li et al. 2021, arXiv:2111.11429, appendix: norms in the pyramid and the heads, which are deeper.
fasterrcnn_resnet50_fpn_v2 = _resnet_coco(
    build=partial(
        FasterRCNN, neck_norm=BatchNorm, depth=2, head=partial(BoxHead, norm=BatchNorm, convolutions=4, dense=1)
    ),
    params=43_712_278,
    macs=280_370_729_472,
    reference="torchvision:fasterrcnn_resnet50_fpn_v2",
)
fasterrcnn_mobilenet_v3_large_fpn = _resnet_coco(
    build=partial(_mobile, keep=Keep(score=0.05)),
    params=19_410_754,
    macs=18_853_144_256,
    reference="torchvision:fasterrcnn_mobilenet_v3_large_fpn",
)
fasterrcnn_mobilenet_v3_large_320_fpn = _coco(
    build=partial(_mobile, keep=Keep(150, 150, 0.05)),
    input_shape=(320, 320, 3),
    params=19_410_754,
    macs=2_872_931_200,
    reference="torchvision:fasterrcnn_mobilenet_v3_large_320_fpn",
    preprocessing=Preprocessing((320, 640), resize="short_side", interpolation="sampled"),
)

_mask_coco = partial(_resnet_coco, source="He et al. 2017, arXiv:1703.06870, figure 4, right")
maskrcnn_resnet50_fpn = _mask_coco(
    build=partial(FasterRCNN, mask_head=MaskHead),
    params=44_454_513,
    macs=187_586_351_616,
    reference="torchvision:maskrcnn_resnet50_fpn",
)
maskrcnn_resnet50_fpn_v2 = _mask_coco(
    build=partial(fasterrcnn_resnet50_fpn_v2.build, mask_head=partial(MaskHead, norm=BatchNorm)),
    params=46_359_409,
    macs=333_577_359_872,
    reference="torchvision:maskrcnn_resnet50_fpn_v2",
)
