"""The classes that published weights are for, where only their number is known."""

from pathlib import Path


def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 of ILSVRC 2012: short English names, in the order of their WordNet numbers, that all use."""
    return _lines("imagenet.txt")


def coco_classes() -> tuple[str, ...]:
    """The 90 numbers of COCO's objects, from 1: ten of them are no class of its images, and called "N/A 12"."""
    return _lines("coco.txt")


def voc_classes() -> tuple[str, ...]:
    """The 20 of the PASCAL VOC challenge behind the background, which has number 0."""
    return _lines("voc.txt")


USUAL = {"classify": ("ImageNet", imagenet_classes), "detect": ("COCO", coco_classes), "segment": ("VOC", voc_classes)}


def classes_of(task: str, count: int | None) -> tuple[str, ...] | None:
    """The names of as many classes that weights for a variant's task are usually for; None where there are none."""
    usual = USUAL[task][1]() if task in USUAL else ()
    return usual if usual and count == len(usual) else None


def _lines(name: str) -> tuple[str, ...]:
    return tuple((Path(__file__).parent / name).read_text(encoding="utf-8").splitlines())
