"""Feature visualisation: the input that a unit answers to most, found by gradient ascent.

Olah, Mordvintsev and Schubert 2017, doi:10.23915/distill.00007, after the code of lucid: the picture is a spectrum, so
that all frequencies move alike, its colours are decorrelated, and a random small movement before each step keeps noise
from being the answer. Any number of channels and any size, signals too.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.ndimage import map_coordinates

from cnn_jax.explain.attribution import LayerScore, Score
from cnn_jax.explain.program import ACTIVATIONS, SQUASHING, Activations, Rules, Tracked, evaluate, live, slope_of_first

State = tuple[jax.Array, optax.OptState]

# The square root of the covariance of the colours of ImageNet, as lucid has it.
COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
JITTER, SCALE, ANGLE = 0.05, 0.1, 10.0  # of a side, of the size, in degrees


def visualise(
    f: Score,
    shape: tuple[int, ...],
    key: jax.Array,
    *,
    prepare: Callable[[jax.Array], jax.Array] = lambda x: x,
    colours: np.ndarray | None = None,
    steps: int = 256,
    rate: float = 0.05,
    moved: bool = True,
) -> jax.Array:
    """Pictures [B, *spatial, C] in [0, 1] at which each of the scores f(prepare(x)) [B] is large.

    Args:
      f: as `units` makes one.
      shape: [B, *spatial, C] of the pictures.
      prepare: from [0, 1] to what f reads, as the normalisation of the run's data.
      colours: [C, C], the square root of the covariance of the channels; by default ImageNet's for three and none else.
      steps, rate: of Adam.
      moved: whether the picture is moved, scaled and turned at random before each step.
    """
    spectrum, moves = jax.random.split(key)
    start = 0.01 * jax.random.normal(spectrum, (2, *_frequencies(shape[1:-1]).shape, shape[0] * shape[-1]))
    optimizer, draw = optax.adam(rate), partial(picture, shape=shape, colours=colours)

    reached = opened(f)

    def step(state: State, key: jax.Array) -> tuple[State, None]:
        def slopes(f: Score, parameters: jax.Array) -> tuple[jax.Array, jax.Array]:
            def scores(parameters: jax.Array) -> jax.Array:
                x = draw(parameters)
                return f(prepare(movement(x, key) if moved else x))

            found, back = jax.vjp(scores, parameters)
            return found, back(jnp.ones_like(found))[0]  # upwards: `opened` asks for the sign

        found, along = slopes(f, state[0])
        off = jnp.repeat(found == 0, shape[-1])  # of the B x C numbers of each entry of a spectrum
        along = jax.lax.cond(
            off.any(),
            lambda p, along: jnp.where(off, slopes(reached, p)[1], along),
            lambda p, along: along,
            state[0],
            along,
        )
        updates, memory = optimizer.update(-along, state[1])
        return (state[0] + updates, memory), None

    return draw(jax.lax.scan(step, (start, optimizer.init(start)), jax.random.split(moves, steps))[0][0])


def opened(f: Score) -> Score:
    """f with a gradient also where a unit is off and more of it would raise f: through the last activation before f.

    A unit that is off for the first noise, and behind a relu, has no gradient at all: its picture would stay grey
    (tensorflow/lucid issue 68). lucid opens every relu. In a deep network that adds up to a gradient of no direction:
    EfficientNet-Lite0's is a million times as large as where a unit is on, and its pictures stayed grey.
    """

    def call(x: jax.Array) -> jax.Array:
        closed, given = live(jax.make_jaxpr(f)(x)), Tracked(x, raw=True)
        counting = _Opened(0)
        jax.eval_shape(lambda x: evaluate(closed, counting, Tracked(x)), x)
        return evaluate(closed, _Opened(counting.seen), given)

    return call


class _Opened(Activations):
    """The gradient, which activation number `last` lets through where it has none and it is positive."""

    def __init__(self, last: int) -> None:
        super().__init__(_through)
        self.last, self.seen = last, 0

    def curve(self, f: Callable[..., Any], x: Tracked, constants: Sequence[Any], name: str) -> Any:
        if name in ACTIVATIONS | SQUASHING:
            self.seen += 1
            if self.seen == self.last:
                return super().curve(f, x, constants, name)
        return Rules.curve(self, f, x, constants, name)


def _through(f: Callable[..., Any], xs: Sequence[Any], g: jax.Array) -> jax.Array:
    own = slope_of_first(f, xs, g)
    return jnp.where((own == 0) & (g > 0), g, own)


def units(g: LayerScore, layer: str, channels: Sequence[int], *, middle: bool = False) -> Score:
    """x [B, ...] -> [B], the mean answer of unit channels[i] of a feature map to the i-th of B pictures.

    middle: the answer at the middle of the map alone, one neuron in place of a channel.
    """

    def score(x: jax.Array) -> jax.Array:
        maps = g(x)[1][layer]
        own = jnp.stack([maps[row, ..., channel] for row, channel in enumerate(channels)])
        if middle:
            return own[:, *(size // 2 for size in own.shape[1:])]
        return own.reshape(len(own), -1).mean(1)

    return score


def picture(parameters: jax.Array, shape: tuple[int, ...], colours: np.ndarray | None = None) -> jax.Array:
    """Pictures [B, *spatial, C] in (0, 1) from the real and imaginary parts of their spectra, as lucid scales them."""
    spatial, channels = shape[1:-1], shape[-1]
    axes = tuple(range(len(spatial)))
    size = float(np.sqrt(np.prod(spatial)))
    scale = size / np.maximum(_frequencies(spatial), 1 / max(spatial)) / 4
    waves = (parameters[0] + 1j * parameters[1]) * jnp.asarray(scale, jnp.float32)[..., None]
    plain = jnp.fft.irfftn(waves, s=spatial, axes=axes)
    plain = jnp.moveaxis(plain.reshape(*spatial, shape[0], channels), -2, 0)
    if colours is None:
        colours = COLOURS if channels == 3 else np.eye(channels)
    mixing = colours / np.linalg.norm(colours, axis=0).max()
    return jax.nn.sigmoid(plain @ jnp.asarray(mixing.T, jnp.float32))


def colours_of(images: np.ndarray) -> np.ndarray:
    """The square root [C, C] of the covariance of the channels of images [N, ..., C]: `colours` of the run's data."""
    values = np.asarray(images, np.float64).reshape(-1, images.shape[-1])
    directions, sizes, _ = np.linalg.svd(np.atleast_2d(np.cov(values.T)))
    return directions * np.sqrt(sizes)


def movement(x: jax.Array, key: jax.Array) -> jax.Array:
    """x [B, *spatial, C] under a small random shift, change of size and, in two dimensions, turn; grey outside.

    One draw for all B, as in lucid.
    """
    shift, scale, angle = jax.random.split(key, 3)
    spatial = x.shape[1:-1]
    middle = (jnp.asarray(spatial) - 1) / 2
    grid = jnp.stack(jnp.meshgrid(*(jnp.arange(size, dtype=x.dtype) for size in spatial), indexing="ij"))
    offset = grid - middle.reshape(-1, *[1] * len(spatial))
    if len(spatial) == 2:
        turn = jnp.deg2rad(jax.random.uniform(angle, (), minval=-ANGLE, maxval=ANGLE))
        cos, sin = jnp.cos(turn), jnp.sin(turn)
        offset = jnp.stack([cos * offset[0] - sin * offset[1], sin * offset[0] + cos * offset[1]])
    offset = offset / jax.random.uniform(scale, (), minval=1 - SCALE, maxval=1 + SCALE)
    far = JITTER * jnp.asarray(spatial)
    moved = jax.random.uniform(shift, (len(spatial),), minval=-1, maxval=1) * far + middle
    places = offset + moved.reshape(-1, *[1] * len(spatial))
    one = lambda plane: map_coordinates(plane, list(places), order=1, mode="constant", cval=0.5)  # noqa: E731
    return jax.vmap(jax.vmap(one, -1, -1))(x)


def _frequencies(spatial: tuple[int, ...]) -> np.ndarray:
    """The length of the frequency of each entry of a real spectrum, in cycles per pixel."""
    each = [np.fft.fftfreq(size) for size in spatial[:-1]] + [np.fft.rfftfreq(spatial[-1])]
    return np.sqrt(sum(f**2 for f in np.meshgrid(*each, indexing="ij")))
