"""How other libraries call the parts of `cnn_jax.models.panns`."""

AUTHORS = {"input_norm": "bn0", "hidden": "fc1", "classifier": "fc_audioset", "pooled": ""}
# Of a block of MobileNetV1 there, a list; each has a mean and an activation between.
PLACES = {"depthwise": 0, "norm1": 2, "pointwise": 4, "norm2": 5}


def panns(path: str, blocks: tuple[int, ...]) -> str:
    """stage2_conv1 -> conv_block2.conv1, stage2_block1_norm2 -> features.2.5, and stage2, the feature, likewise."""
    if path in AUTHORS:
        return AUTHORS[path]
    if path.startswith("stem"):
        return {"stem_conv": "features.0.0", "stem_norm": "features.0.2", "stem": "features.0"}[path]
    stage, *words = path.removeprefix("stage").split("_")
    number = int(stage)
    if len(words) == 2:  # MobileNetV1, whose blocks are counted through
        return f"features.{sum(blocks[: number - 1]) + int(words[0].removeprefix('block'))}.{PLACES[words[1]]}"
    if words:
        return f"conv_block{number}.{words[0].replace('norm', 'bn')}"
    return f"conv_block{number}" if len(blocks) in (4, 6) else f"features.{sum(blocks[:number])}"
