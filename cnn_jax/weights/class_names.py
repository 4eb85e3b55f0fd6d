"""The classes that published weights are for, where only their number is known."""

from pathlib import Path


def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 of ILSVRC 2012: short English names, in the order of their WordNet numbers, that all use."""
    return _lines("imagenet.txt")


def coco_classes() -> tuple[str, ...]:
    """The 90 numbers of COCO's objects, from 1: ten of them are no class of its images, and called "N/A 12"."""
    return _lines("coco.txt")


def classes_of(task: str, count: int | None) -> tuple[str, ...] | None:
    """The names of as many classes that weights for a variant's task are usually for; None where there are none."""
    usual = coco_classes() if task == "detect" else imagenet_classes()
    return usual if count == len(usual) else None


def _lines(name: str) -> tuple[str, ...]:
    return tuple((Path(__file__).parent / name).read_text(encoding="utf-8").splitlines())
