"""The page and the figure that `step.py` makes of its measurements, as they stand in step.json."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn_jax.report.figures import BLUE, GREEN, GREY, ORANGE, new_figure, save

COLOURS = {
    "project": BLUE, "project_partitioned": "#5A7FA6", "project_bf16": "#8FB8DE",
    "flax": GREY, "flax_1_device": "#BBBBBB",
    "torch": ORANGE, "torch_bf16": "#F2C79B", "channels_last": GREEN, "channels_last_bf16": "#A9D3A5",
}  # fmt: skip
HEADINGS = {"train": "Train step", "forward": "Forward pass"}
FLAX, TORCH = ("flax",), ("torch", "channels_last")


def median(measured: Mapping[str, Any], mode: str) -> float:
    """Seconds of a step."""
    return statistics.median(measured[mode]["times"])


def products(record: Mapping[str, Any]) -> dict[str, float]:
    """FLOP/s of each variant's matrix product, the median over all rounds of all networks; the largest is the peak."""
    times: dict[str, list[float]] = {}
    for work in record["workloads"].values():
        for variant, measured in work["variants"].items():
            times.setdefault(variant, []).extend(measured["product"]["times"])
    return {variant: 2 * record["product"] ** 3 / statistics.median(every) for variant, every in times.items()}


def share(measured: Mapping[str, Any], mode: str, batch: int, peak: float) -> float:
    """Part of the peak [FLOP/s] that a variant reaches."""
    flop = 2 * measured["macs"] * batch * (3 if mode == "train" else 1)
    return flop / median(measured, mode) / peak


def table(record: Mapping[str, Any]) -> str:
    """The Markdown page of the numbers as they stand in step.json."""
    works, reached = record["workloads"].values(), products(record)
    variants = [variant for variant in COLOURS if variant in reached]
    size, peak = record["product"], max(reached.values())
    speeds = ", ".join(f"{variant} {reached[variant] / 1e9:.1f}" for variant in variants)
    lines = [
        f"`{record['command']}`, {record['machine']}, {record['cores']} cores, {', '.join(record['versions'])}. "
        f"Medians of {record['rounds']} rounds that take turns. GFLOP/s of a {size} x {size} product: {speeds}."
    ]
    for mode, heading in HEADINGS.items():
        lines += ["", f"{heading}: milliseconds (share of the peak). A ratio above 1: this project is faster", ""]
        lines += _rows(["network", *variants, "flax / project", "the faster torch / project"])
        for work in works:
            timed = work["variants"]
            cells = [
                f"{1000 * median(timed[v], mode):.1f} ({share(timed[v], mode, work['batch'], peak):.0%})"
                if v in timed
                else "–"
                for v in variants
            ]
            lines += [_row([work["label"], *cells, *(_ratio(timed, mode, v) for v in (FLAX, TORCH))])]
    lines += ["", "Compilation of train step + forward pass in seconds, and peak memory", ""]
    lines += _rows(["network", *variants])
    for work in works:
        timed = work["variants"]
        cells = [
            f"{timed[v]['train']['compile']:.1f} + {timed[v]['forward']['compile']:.1f}, "
            f"{timed[v]['train']['peak_mb']:,.0f} MB"
            if v in timed
            else "–"
            for v in variants
        ]
        lines += [_row([work["label"], *cells])]
    return "\n".join(lines) + "\n"


def _rows(names: Sequence[str]) -> list[str]:
    return [_row(names), _row(["---"] * len(names))]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ratio(timed: Mapping[str, Any], mode: str, others: Sequence[str]) -> str:
    times = [median(timed[v], mode) for v in others if v in timed]
    return f"{min(times) / median(timed['project'], mode):.2f}" if times and "project" in timed else "–"


def chart(record: Mapping[str, Any], path: Path) -> None:
    """Bars: the share of the peak that each variant reaches, train step above forward pass."""
    works, reached = list(record["workloads"].values()), products(record)
    variants = [variant for variant in COLOURS if variant in reached]
    width = 0.8 / len(variants)
    figure = new_figure(max(7.0, 1.7 * len(works) + 1), 7)
    for ax, (mode, heading) in zip(figure.subplots(2), HEADINGS.items(), strict=True):
        for i, variant in enumerate(variants):
            places, shares = [], []
            for at, work in enumerate(works):
                if variant in work["variants"]:
                    part = share(work["variants"][variant], mode, work["batch"], max(reached.values()))
                    places.append(at + (i - (len(variants) - 1) / 2) * width)
                    shares.append(100 * part)
            bars = ax.bar(places, shares, width, color=COLOURS[variant], label=variant.replace("_", " "))
            ax.bar_label(bars, fmt="%.0f", fontsize=8, padding=1)
        ax.set_xticks(range(len(works)), [_two_lines(work["label"]) for work in works], fontsize=9)
        ax.set_title(heading, fontsize=12)
        ax.set_ylabel("% of the matrix-product peak", fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        ax.set_axisbelow(True)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(variants))
    save(figure, path)


def _two_lines(label: str) -> str:
    """The network's name above its examples."""
    name, size, batch = label.rsplit(" ", 2)
    return f"{name}\n{size} {batch}"
