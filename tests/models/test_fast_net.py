"""FastNet's size as a closed form."""

from cnn_jax.models.fast_net import fast_net


def test_counts_follow_from_the_widths() -> None:
    convolutions = {(1, 32): 28**2, (32, 64): 14**2, (64, 64): 14**2, (64, 128): 7**2, (128, 128): 7**2}
    kernels = {pair: 9 * pair[0] * pair[1] for pair in convolutions}
    norms = 2 * (32 + 64 + 64 + 128 + 128)
    assert fast_net.params == sum(kernels.values()) + norms + 128 * 10 + 10
    assert fast_net.macs == sum(kernels[pair] * area for pair, area in convolutions.items()) + 128 * 10
