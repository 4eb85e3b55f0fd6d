"""How torchvision calls the parts of `cnn_jax.models.necks.FPN`, below "backbone.fpn" of its detectors."""


def torchvision(path: str, *, earlier: bool = False) -> str:
    """inner2 -> inner_blocks.1.0, layer2_norm -> layer_blocks.1.1, p6 -> extra_blocks.p6.

    earlier: as weights published before torchvision 0.13 have it, without the last number: inner_blocks.1.
    """
    name, _, norm = path.partition("_")
    kind, level = name.rstrip("0123456789"), name.removeprefix("inner").removeprefix("layer")
    if kind not in ("inner", "layer"):
        return f"extra_blocks.{name}"
    block = f"{kind}_blocks.{int(level) - 1}"
    return block if earlier else f"{block}.{1 if norm else 0}"
