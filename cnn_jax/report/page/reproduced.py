"""The page of all published scores beside ours: one HTML file that needs no other and no network."""

from collections.abc import Sequence

from cnn_jax.evals.equivalence import BETTER, NOT_REPRODUCED, REPRODUCED
from cnn_jax.evals.evaluator import digits
from cnn_jax.report.page.document import framed
from cnn_jax.report.page.markup import Cell, amount, bullets, duration, heads_of, notes, table, text
from cnn_jax.report.reproduced import Outcome, counted
from cnn_jax.report.runs import MISSING

TITLE = "Published scores, reproduced"
COSTS = {"parameters": 1.0, "flops": 1e12, "memory": 1e9, "joules": 3.6e6}  # as they are kept, and in the unit shown
JUDGED = (
    "The band is the published score ± the margin that the experiment's file states beforehand, the bar the 95 % "
    "interval of our mean over training seeds (Student's t), the dots the seeds.",
    "Reproduced: the bar lies within the band. Better, not reproduced: it lies wholly beyond it. Undecided: neither, "
    "and so many more seeds would decide it if their mean and spread stay.",
    "All scores are of the test split at the last step; seeds vary weights and the order of data, not the test split.",
)
WIDE, HIGH = 220, 26  # of a picture, in pixels
KINDS = {REPRODUCED: "good", BETTER: "good", NOT_REPRODUCED: "bad"}


def page(rows: Sequence[Outcome], left_out: Sequence[str]) -> str:
    """The page. rows: in order; left_out: in lines, what could not be run."""
    body = [f"<p>{text(counted(rows))}</p>", _scores(rows), notes(JUDGED), _costs(rows), _protocols(rows)]
    body += [_versions(rows), bullets("What could not be run", left_out)]
    return framed(TITLE, "", "".join(body))


def _scores(rows: Sequence[Outcome]) -> str:
    heads = [Cell("row"), *heads_of(["score"], ""), *heads_of(["paper", "margin", "ours", "seeds"])]
    heads += [Cell("paper and ours"), Cell("verdict")]
    lines = []
    for row in rows:
        paper, interval = row["paper"], row["interval95"]
        below = f"<small>[{interval[0]:.4f}, {interval[1]:.4f}]</small>" if interval else ""
        cells = [
            Cell(text(paper["score"])),
            Cell(digits(paper["value"]), "number", paper["value"]),
            Cell(f"{paper['margin']:g}", "number", paper["margin"]),
            Cell(MISSING if row["mean"] is None else digits(row["mean"]) + below, "number", row["mean"]),
            Cell(str(len(row["scores"])), "number", len(row["scores"])),
            Cell(_picture(row)),
            Cell(text(row["verdict_in_words"] or "not run"), f"words {KINDS.get(row['verdict'], '')}".strip()),
        ]
        name = f"{text(row['title'])}<br><small>{text(row['row'])}</small>"
        lines.append(("", Cell(name, "", row["row"]), cells))
    return f"<h2>Scores</h2>{table(heads, lines)}"


def _picture(row: Outcome) -> str:
    """The band of the paper, the bar of the interval and a dot for each seed, on an axis of their own."""
    paper, seeds = row["paper"], list(row["scores"].values())
    band = (paper["value"] - paper["margin"], paper["value"] + paper["margin"])
    interval = row["interval95"] or (row["mean"],) * 2
    every = [*band, *seeds, *(number for number in interval if number is not None)]
    low, span = min(every), max(every) - min(every)

    def at(value: float) -> float:
        return round(8 + (WIDE - 16) * (value - low) / span, 1)

    across = round(at(band[1]) - at(band[0]), 1)
    parts = [
        f'<rect class="band" x="{at(band[0])}" y="3" width="{across}" height="{HIGH - 6}"/>',
        f'<path class="paper" d="M{at(paper["value"])} 3V{HIGH - 3}"/>',
    ]
    if seeds:
        middle = HIGH / 2
        parts.append(f'<path class="ours" d="M{at(interval[0])} {middle}H{at(interval[1])}"/>')
        parts += [f'<circle class="seed" cx="{at(value)}" cy="{middle}" r="2"/>' for value in seeds]
        parts.append(f'<circle class="mean" cx="{at(row["mean"])}" cy="{middle}" r="4.5"/>')
    said = text(f"paper {digits(paper['value'])}, ours {digits(row['mean']) if seeds else MISSING}")
    size = f'width="{WIDE}" height="{HIGH}" viewBox="0 0 {WIDE} {HIGH}"'
    return f'<svg class="forest" role="img" aria-label="{said}" {size}>{"".join(parts)}</svg>'


def _costs(rows: Sequence[Outcome]) -> str:
    names = ["seconds", "expected", "parameters", "TFLOP in all", "GB of memory", "kWh"]
    lines = []
    for row in rows:
        found, expected = row["cost"], row["expected"]
        values = [found["seconds"], expected["seconds"]]
        cells = [Cell(MISSING if value is None else duration(value), "number", value) for value in values]
        scaled = [None if found[name] is None else found[name] / unit for name, unit in COSTS.items()]
        cells += [Cell(amount(value), "number", "" if value is None else value) for value in scaled]
        where = row["devices"] or f"made for {expected['on']}"
        lines.append(("", Cell(text(row["row"]), "", row["row"]), [*cells, Cell(text(where), "words")]))
    heads = [Cell("row"), *heads_of(names), Cell("devices")]
    return f"<h2>Cost of a seed</h2>{table(heads, lines)}{notes(['Means over the seeds.'])}"


def _protocols(rows: Sequence[Outcome]) -> str:
    lines = [
        (
            "",
            Cell(text(row["row"]), "", row["row"]),
            [Cell(_long(row["paper"][name]), "words long") for name in ("source", "protocol")],
        )
        for row in rows
    ]
    return f"<h2>Sources and protocols</h2>{table([Cell('row'), Cell('source'), Cell('protocol')], lines)}"


def _long(words: str) -> str:
    """A text at length, which `text` would cut."""
    return "".join(text(words[at : at + 250]) for at in range(0, len(words), 250))


def _versions(rows: Sequence[Outcome]) -> str:
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["versions"]:
            found.setdefault(", ".join(f"{name} {value}" for name, value in row["versions"].items()), []).append(
                row["row"]
            )
    lines = [f"{versions}: {', '.join(names)}" for versions, names in found.items()]
    return bullets("Versions", lines)
