"""Names of blocks that are numbered through all stages."""

from functools import partial

from cnn_jax.inspect.anatomy import variable_shapes
from cnn_jax.models.efficientnet import efficientnet_lite1
from cnn_jax.weights.convert import tensor_name
from cnn_jax.weights.names.efficientnet import lite_pytorch


def test_lite_blocks_are_numbered_through_all_stages() -> None:
    blocks = efficientnet_lite1().blocks
    assert blocks == (1, 3, 3, 4, 4, 5, 1)
    names = partial(lite_pytorch, blocks=blocks)
    assert names("stage1_block1/project_norm") == "_blocks.0._bn2"
    assert names("stage2_block3/expand_conv") == "_blocks.3._expand_conv"
    assert names("stage7_block1/depthwise_norm") == "_blocks.20._bn1"
    assert [names(f"stage{i}") for i in (1, 2, 7)] == ["_blocks.0", "_blocks.3", "_blocks.20"]


def test_lite_names_are_different_and_all_there() -> None:
    """21 blocks of 3 norms with 4 arrays and 3 kernels, of which the first has one less; stem, head and classifier."""
    names = partial(lite_pytorch, blocks=efficientnet_lite1().blocks)
    found = [tensor_name(path, names) for path in variable_shapes(efficientnet_lite1(), (32, 32, 3))]
    assert len(found) == len(set(found)) == 21 * 15 - 5 + 2 * 5 + 2
    assert all(name.startswith("_") for name in found)
