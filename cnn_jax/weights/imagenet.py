"""The 1,000 classes of ILSVRC 2012: their short English names, in the order of their WordNet numbers, that all use."""

from pathlib import Path


def imagenet_classes() -> tuple[str, ...]:
    """Their names, as imagenet.txt has them."""
    return tuple((Path(__file__).parent / "imagenet.txt").read_text(encoding="utf-8").splitlines())
