"""A laboratory for the convolution: five algorithms, a kernel at work on a photograph, receptive fields, and shifts.

Command: python experiments/studies/convolution_lab.py --out=lab
Time: about two minutes on two CPU cores; --parts=algorithms,picture,fields,shifts does some of it

It writes to the folder:
  algorithms.md, .png   speed of direct, im2col, shifted GEMM, FFT and Winograd by shape (median of 5, interleaved, as
                        a ratio to XLA's convolution in the same run), and the error of each against float64
  kernel.png, .gif      a kernel sliding over a photograph, and the feature map growing
  fields.md, .png       analytic receptive fields, and effective ones measured by gradients, at random weights
  shifts.md, .png       how much feature maps change when the image moves, with and without blur pooling
Algorithms: cnn_jax/ops/algorithms.py. Fields: cnn_jax/inspect/receptive_field.py by analysis and
cnn_jax/explain/effective_field.py by measurement. Blur pooling: cnn_jax/ops/blur_pool.py.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from PIL import Image
from sklearn.datasets import load_sample_image

from cnn_jax.explain.effective_field import effective_field, effective_size
from cnn_jax.inspect.receptive_field import receptive_fields
from cnn_jax.launch import cli, script
from cnn_jax.lookup import lookup
from cnn_jax.models.layers import he_fan_out
from cnn_jax.ops import algorithms
from cnn_jax.ops.blur_pool import blur_pool, max_blur_pool
from cnn_jax.ops.convolution import convolution, lowering
from cnn_jax.ops.pooling import avg_pool, max_pool
from cnn_jax.paths import written
from cnn_jax.report.figures import BLUE, GREEN, GREY, ORANGE, new_figure, save

PARTS = ("algorithms", "picture", "fields", "shifts")
OUT = flags.DEFINE_string("out", "lab", "folder that tables and pictures are written to")
ONLY = flags.DEFINE_list("parts", list(PARTS), f"what to do, of {', '.join(PARTS)}")
MODELS = flags.DEFINE_list(
    "models", ["lenet.lenet5", "vgg.vgg16", "resnet.resnet18", "resnet.resnet50"], "models whose fields are measured"
)
ROUNDS = flags.DEFINE_integer("rounds", 5, "timings per algorithm and shape", lower_bound=1)
QUICK = flags.DEFINE_bool("quick", False, "tiny shapes, to see that everything works")

Algorithm = Callable[[jax.Array, jax.Array], jax.Array]
ALGORITHMS: dict[str, Algorithm] = {
    # One row more than asked for: where nothing is padded, XLA takes up to three times as long on a CPU.
    "XLA": lambda x, kernel: jax.lax.conv_general_dilated(
        x, kernel, (1, 1), ((0, 1), (0, 0)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[:, :-1],
    "direct": algorithms.direct,
    "im2col": algorithms.im2col,
    "shifted GEMM": algorithms.shifted_gemm,
    "FFT": algorithms.fft,
    "Winograd 2x2": algorithms.winograd,
    "Winograd 4x4": partial(algorithms.winograd, tile=4),
}
# batch, size, channels in, channels out, window
SHAPES = [(16, 34, 16, 16, 3), (16, 34, 64, 64, 3), (16, 10, 256, 256, 3), (8, 34, 32, 32, 7), (8, 58, 3, 64, 7)]
SOBEL = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]], np.float32)


def compare_algorithms(out: Path) -> None:
    """Speed and error of every algorithm, by shape."""
    shapes = [(1, 8, 4, 4, 3)] if QUICK.value else SHAPES
    ratios: dict[str, list[float | None]] = {name: [] for name in ALGORITHMS}
    lines = [
        "| shape (batch, size, in, out, window) | XLA, ms | "
        + " | ".join(f"{name}: speed, error" for name in ALGORITHMS)
        + " |",
        "|---" * (len(ALGORITHMS) + 2) + "|",
    ]
    for batch, size, channels, outputs, window in shapes:
        draw = np.random.default_rng(0)
        x = draw.normal(size=(batch, size, size, channels)).astype(np.float32)
        kernel = draw.normal(size=(window, window, channels, outputs)).astype(np.float32)
        exact = _float64(x, kernel)
        compiled = {
            name: jax.jit(f)
            for name, f in ALGORITHMS.items()
            if window == 3 or not name.startswith("Winograd")  # the only size it is for
        }
        seconds = _interleaved({name: partial(f, x, kernel) for name, f in compiled.items()}, ROUNDS.value)
        cells = []
        for name in ALGORITHMS:
            ratio = seconds["XLA"] / seconds[name] if name in seconds else None
            ratios[name].append(ratio)
            if ratio is None:
                cells.append("–")
                continue
            error = np.abs(np.asarray(compiled[name](x, kernel)) - exact).max() / np.abs(exact).max()
            cells.append(f"{ratio:.2f}, {error:.0e}")
        lines.append(
            f"| {batch}, {size}², {channels}, {outputs}, {window}² | {1e3 * seconds['XLA']:.1f} | {' | '.join(cells)} |"
        )
    _write(out / "algorithms.md", lines)

    figure = new_figure(11, 4.5)
    ax = figure.subplots()
    width = 0.8 / len(ALGORITHMS)
    for i, (name, values) in enumerate(ratios.items()):
        heights = [value or 0 for value in values]
        ax.bar(np.arange(len(shapes)) + i * width - 0.4, heights, width, align="edge", label=name)
    ax.set_yscale("log")
    ax.axhline(1, color=GREY, linewidth=0.8)
    ax.set_xticks(range(len(shapes)), [f"{b} x {s}² x {c} → {d}\n{k} x {k}" for b, s, c, d, k in shapes])
    ax.set_ylabel("speed, XLA's convolution = 1")
    ax.legend(ncols=4, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save(figure, out / "algorithms.png")


def _float64(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The definition, tap by tap in float64."""
    rows, columns = x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1
    wide, taps = x.astype(np.float64), kernel.astype(np.float64)
    return sum(wide[:, p : p + rows, q : q + columns] @ taps[p, q] for p, q in np.ndindex(*kernel.shape[:2]))


def _interleaved(functions: dict[str, Callable[[], jax.Array]], rounds: int) -> dict[str, float]:
    """Median seconds of each; every round runs all of them, after one that compiles."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            began = time.perf_counter()
            jax.block_until_ready(function())
            if number:
                times[name].append(time.perf_counter() - began)
    return {name: float(np.median(values)) for name, values in times.items()}


def draw_kernel(out: Path) -> None:
    """A Sobel kernel sliding over a photograph: one picture halfway, and the whole way as an animation."""
    size = 10 if QUICK.value else 30
    image = _photograph(size, size).mean(-1)
    feature_map = np.asarray(algorithms.direct(image[None, :, :, None], SOBEL[:, :, None, None]))[0, :, :, 0]
    places = list(np.ndindex(*feature_map.shape))
    step = max(1, len(places) // (5 if QUICK.value else 120))
    frames = [_frame(image, feature_map, i, j) for i, j in places[step - 1 :: step]]
    frames[0].save(
        out / "kernel.gif",
        save_all=True,
        append_images=[*frames[1:], *[_frame(image, feature_map, *places[-1])] * 15],
        duration=80,
        loop=0,
    )
    _frame(image, feature_map, *places[int(0.31 * len(places))], whole=True).save(out / "kernel.png")


def _frame(image: np.ndarray, feature_map: np.ndarray, i: int, j: int, *, whole: bool = False) -> Image.Image:
    """The moment at which output (i, j) is computed: image with window, window times kernel, and the map so far or,
    with `whole`, as it will be."""
    figure = new_figure(11, 3.9)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 0.8, 1])
    left.imshow(image, cmap="gray", vmin=0, vmax=1)
    left.add_patch(Rectangle((j - 0.5, i - 0.5), 3, 3, fill=False, edgecolor=ORANGE, linewidth=3))
    left.set_title("image")
    window = image[i : i + 3, j : j + 3]
    middle.imshow(window, cmap="gray", vmin=0, vmax=1)
    for p, q in np.ndindex(3, 3):
        text, colour = f"{window[p, q]:.2f}\n× {SOBEL[p, q]:+.0f}", "black" if window[p, q] > 0.5 else "white"
        middle.text(q, p, text, ha="center", va="center", color=colour, fontsize=12)
    middle.set_title(f"window × kernel, summed: {feature_map[i, j]:+.2f}")
    done = np.where(np.arange(feature_map.size).reshape(feature_map.shape) <= i * feature_map.shape[1] + j, 1, np.nan)
    bound = np.abs(feature_map).max()
    shown = feature_map if whole else feature_map * done
    map_image = right.imshow(shown, cmap="RdBu", vmin=-bound, vmax=bound)
    figure.colorbar(map_image, ax=right, fraction=0.046, pad=0.03)
    right.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=2))
    right.set_title("feature map: above minus below")
    for ax in (left, middle, right):
        ax.set_xticks([])
        ax.set_yticks([])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def measure_fields(out: Path) -> None:
    """Receptive fields of every feature map, and the effective one of the last, at random weights."""
    lines = ["| model | feature | field | stride | effective (95 % of the gradient) |", "|---" * 5 + "|"]
    panels = []
    for name in MODELS.value:
        variant = lookup(name)
        height, width, channels = variant.input_shape
        model = variant()
        x = jax.random.normal(jax.random.key(0), (1 if QUICK.value else 4, height, width, channels))
        variables = jax.jit(partial(model.init, train=False))(jax.random.key(1), x[:1])
        _, maps = jax.eval_shape(partial(model.apply, train=False), variables, x)
        fields = {key: field for key, field in receptive_fields(model, variant.input_shape).items() if field[0].size}
        for feature, (along, _) in fields.items():
            measured = ""
            if feature == list(fields)[-1]:
                seen = effective_field(model, variables, x, feature)
                side = effective_size(seen)
                measured = f"{side:.0f} of {height}"
                corner = along.start + maps[feature].shape[1] // 2 * float(along.stride) - 0.5  # of the middle's field
                title = f"{name.rpartition('.')[2]}, {feature}\n95 % within {side:.0f} px, in theory {along.size} px"
                panels.append((title, seen, corner, along.size))
            lines.append(f"| {name} | {feature} | {along.size} | {float(along.stride):g} | {measured} |")
    _write(out / "fields.md", lines)

    figure = new_figure(3.2 * len(panels), 4.1)
    figure.suptitle("root of the mean gradient by pixel; box: the field in theory; grey: beyond the image", fontsize=11)
    for ax, (title, seen, corner, size) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        ax.imshow(np.sqrt(seen), cmap="magma")
        ax.add_patch(Rectangle((corner, corner), size, size, fill=False, edgecolor=GREEN, linewidth=2))
        # All of the box is shown, also where it is larger than the image.
        margin = 0.02 * max(size, *seen.shape)
        low, high = min(corner, -0.5) - margin, max(corner + size, max(seen.shape) - 0.5) + margin
        ax.set(xlim=(low, high), ylim=(high, low), facecolor="#BBBBBB", xticks=[], yticks=[])
        ax.set_title(title, fontsize=10)
    save(figure, out / "fields.png")


def measure_shifts(out: Path) -> None:
    """Change of feature maps under shifts of 0 to 8 pixels, after Zhang 2019 (arXiv:1904.11486, section 4.1)."""
    size, shifts = (16, 3) if QUICK.value else (128, 9)
    photograph = _photograph(size + shifts, size + shifts)
    weights = he_fan_out(jax.random.key(0), (3, 3, 3, 16))

    def conv(x: jax.Array, strides: int = 1) -> jax.Array:
        return jax.nn.relu(convolution(x, weights, strides=strides, padding=1))

    def stage1(name: str) -> Callable[[jax.Array], jax.Array]:
        model = lookup(name)()
        variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), photograph[None, :size, :size])
        return lambda x: model.apply(variables, x, train=False)[1]["stage1"]

    layers: dict[str, tuple[int, Callable[[jax.Array], jax.Array]]] = {
        "convolution": (1, conv),
        "convolution, stride 2": (2, partial(conv, strides=2)),
        "convolution, blur pool": (2, lambda x: blur_pool(conv(x))),
        "max pool": (2, lambda x: max_pool(conv(x), 3, 2, padding=1)),
        "max blur pool": (2, lambda x: max_blur_pool(conv(x))),
        "average pool": (2, lambda x: avg_pool(conv(x), 2)),
        "ResNet-50, stage 1": (4, stage1("resnet.resnet50")),
        "the same, blur pool": (4, stage1("resnet.resnetblur50")),
    }
    errors = {
        name: [_shift_error(jax.jit(layer), stride, photograph, size, shift) for shift in range(shifts)]
        for name, (stride, layer) in layers.items()
    }
    _write(
        out / "shifts.md",
        [
            "| layer | " + " | ".join(f"{shift} px" for shift in range(shifts)) + " |",
            "|---" * (shifts + 1) + "|",
            *(f"| {name} | " + " | ".join(f"{e:.3f}" for e in values) + " |" for name, values in errors.items()),
        ],
    )
    figure = new_figure(8, 4.5)
    ax: Axes = figure.subplots()
    pairs = [(colour, style) for colour in (ORANGE, BLUE, "black") for style in ("-", "--")]
    styles = [(GREY, "-"), *pairs[:4], (GREEN, "-"), *pairs[4:]]
    for (name, values), (colour, style) in zip(errors.items(), styles, strict=True):
        ax.plot(range(shifts), values, style, color=colour, marker="o", label=name)
    ax.set_xlabel("shift of the image, pixels")
    ax.set_ylabel("relative change of the shifted map")
    ax.legend(ncols=4, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
    save(figure, out / "shifts.png")


def _shift_error(
    layer: Callable[[jax.Array], jax.Array], stride: int, photograph: np.ndarray, size: int, shift: int
) -> float:
    """|up(F(shifted)) - shifted up(F)| / |F| away from the borders; up repeats each position `stride` times."""
    border = 4 if stride < 4 else 20 * size // 128  # half a receptive field
    here = _enlarged(layer(photograph[None, :size, :size]), stride)
    there = _enlarged(layer(photograph[None, shift : shift + size, shift : shift + size]), stride)
    moved = here[:, border + shift : size - border, border + shift : size - border]
    kept = there[:, border : size - border - shift, border : size - border - shift]
    return float(jnp.linalg.norm(moved - kept) / jnp.linalg.norm(moved))


def _enlarged(x: jax.Array, stride: int) -> jax.Array:
    return jnp.repeat(jnp.repeat(x, stride, 1), stride, 2)


def _photograph(height: int, width: int) -> np.ndarray:
    """A square of scikit-learn's photograph of a flower, [height, width, 3] in [0, 1], by averages over blocks."""
    picture = load_sample_image("flower.jpg")[20:420, 150:550] / np.float32(255)
    enlarged = Image.fromarray((255 * picture).astype(np.uint8)).resize((width, height), Image.Resampling.BOX)
    return np.asarray(enlarged, np.float32) / 255


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines), "\n", flush=True)


def main() -> None:
    """Runs the parts that were asked for."""
    unknown = [part for part in ONLY.value if part not in PARTS]
    if unknown:
        raise cli.UsageError(f"unknown part '{unknown[0]}': known are {', '.join(PARTS)}")
    out = written(OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    work = dict(zip(PARTS, (compare_algorithms, draw_kernel, measure_fields, measure_shifts), strict=True))
    with lowering("native"):
        for part in ONLY.value:
            work[part](out)
    print(f"written to {out}")


if __name__ == "__main__":
    script.run(main)
