"""Visualisation and dreams of scores whose best picture is known, and the sheets on which pictures are shown."""

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.explain.inside.dream import dream, strength
from cnn_jax.explain.inside.visualise import COLOURS, colours_of, movement, opened, picture, units, visualise
from cnn_jax.report.contact_sheet import GAP, sheet

KEY = jax.random.key(0)


def test_a_picture_is_that_of_lucid() -> None:
    """lucid/optvis/param: fft_image, to_valid_rgb with decorrelation and a sigmoid; in NumPy."""
    draw = np.random.default_rng(0)
    real, imaginary = draw.normal(size=(2, 6, 5, 3)).astype(np.float32)
    found = jax.jit(lambda p: picture(p, (1, 6, 8, 3)))(np.stack([real, imaginary]))[0]
    frequencies = np.sqrt(np.fft.fftfreq(6)[:, None] ** 2 + np.fft.fftfreq(8)[:5] ** 2)
    scale = np.sqrt(6 * 8) / np.maximum(frequencies, 1 / 8)
    plain = np.fft.irfft2((scale[..., None] * (real + 1j * imaginary)).transpose(2, 0, 1), s=(6, 8)).transpose(1, 2, 0)
    mixed = plain / 4 @ (COLOURS / np.linalg.norm(COLOURS, axis=0).max()).T
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-mixed)), atol=1e-5)


def test_the_best_picture_of_a_template_is_the_template() -> None:
    """Of any number of channels and any size, and of signals; the i-th picture is that of the i-th unit."""
    template = jnp.zeros((9, 12, 2)).at[2:6, 3:9, 0].set(1.0).at[5:8, 1:5, 1].set(1.0) - 0.3

    def g(x):
        maps = jnp.stack([template * x, -template * x], -1).sum(-2)
        return maps.sum((1, 2, 3)), {"last": maps}

    found = jax.jit(
        lambda key: visualise(units(g, "last", [0, 1]), (2, 9, 12, 2), key, steps=40, rate=0.3, moved=False)
    )(KEY)
    assert found.shape == (2, 9, 12, 2) and 0 <= found.min() and found.max() <= 1
    for picture_of, sign in zip(found, (1, -1), strict=True):
        assert np.corrcoef(picture_of.ravel(), sign * template.ravel())[0, 1] > 0.8
    signal = jnp.sin(jnp.arange(32) / 3)[:, None]
    score = lambda x: (x * signal).sum((1, 2))  # noqa: E731
    wave = jax.jit(lambda key: visualise(score, (1, 32, 1), key, steps=40, rate=0.3, moved=False))(KEY)
    assert np.corrcoef(wave.ravel(), signal.ravel())[0, 1] > 0.8


def test_a_unit_that_is_off_is_reached() -> None:
    f = lambda x: jax.nn.relu(x - 5).sum((1, 2, 3))  # noqa: E731
    x = jnp.zeros((1, 2, 2, 1))
    slopes = jax.jit(lambda x: [jax.grad(lambda x, f=score: f(x).sum())(x) for score in (f, opened(f))])
    plain, reached = slopes(x)
    assert (plain == 0).all() and (reached == 1).all()
    np.testing.assert_array_equal(*slopes(x + 7))


def test_only_the_activation_of_the_unit_itself_is_opened() -> None:
    """Neither one before it, or the gradient has no direction, nor one of a later layer, which it does not reach."""

    def g(x):
        maps = jax.nn.relu(jax.nn.relu(x) - 5)
        return jax.nn.relu(maps.sum((1, 2, 3)) - 9), {"maps": maps, "later": jax.nn.relu(maps - 3)}

    x = jnp.asarray([1.0, -1.0, 7.0]).reshape(1, 3, 1, 1)
    slopes = jax.jit(jax.grad(lambda x: opened(units(g, "maps", [0]))(x).sum()))(x)
    np.testing.assert_allclose(slopes.ravel(), [1 / 3, 0, 1 / 3], rtol=1e-6)


def test_movements_are_small_and_random() -> None:
    x = jnp.zeros((1, 40, 40, 1)).at[:, 15:25, 15:25].set(1.0)
    both = jnp.concatenate([x, jnp.ones_like(x)])
    (first, white), (second, _) = jax.jit(jax.vmap(movement, (None, 0)))(both, jax.random.split(KEY))
    assert not np.allclose(first, second) and (first[18:22, 18:22] > 0.9).all()
    assert white.min() >= 0.5 - 1e-6 and white[20, 20, 0] == 1  # grey moves in


def test_colours_of_data_are_the_root_of_their_covariance() -> None:
    images = np.random.default_rng(0).normal(size=(5, 6, 7, 4)) @ np.diag([1.0, 2, 3, 4])
    root = colours_of(images)
    np.testing.assert_allclose(root @ root.T, np.cov(images.reshape(-1, 4).T), atol=1e-10)


def test_a_dream_strengthens_what_a_layer_sees() -> None:
    def g(x):
        seen = jax.nn.relu(x[:, :, 1:] - x[:, :, :-1])
        return seen.sum((1, 2, 3)), {"edges": seen}

    f = strength(g, "edges")
    x = jnp.tile(jnp.sin(jnp.arange(24.0)), (1, 24, 1))[..., None]
    found, before, after = jax.jit(lambda x: (y := dream(f, x, KEY, octaves=2, steps=4, smallest=8), f(x), f(y)))(x)
    assert found.shape == x.shape and after > 1.2 * before


def test_a_sheet_has_its_tiles_in_order() -> None:
    tiles = np.zeros((5, 14, 14), np.float32)
    for number in range(5):
        tiles[number, number] = 1
    found = sheet(tiles, columns=3)
    side = 28 + GAP
    assert found.shape == (2 * side + GAP, 3 * side + GAP, 3) and found.dtype == np.uint8
    fourth = found[GAP + side : 2 * side, GAP:side]
    assert (fourth[6:8] == 255).all() and (fourth[:6] == 0).all() and (fourth[8:] == 0).all()
    signed = sheet(np.array([[[-1.0, 0, 1]]]))
    orange = sheet(np.array([[[-1.0, 0, 1]]]), signed=True)[GAP, GAP:]
    assert signed.shape[-1] == 3 and (orange[0] == [0, 114, 178]).all() and (orange[14] == 255).all()
    colours = np.zeros((1, 28, 28, 3), np.uint8)
    colours[..., 1] = 200
    np.testing.assert_array_equal(sheet(colours)[GAP, GAP], [0, 200, 0])
