"""The sections of a part of the page, each as HTML, or nothing where there is nothing to show."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_jax.evals.evaluator import Score, digits
from cnn_jax.paths import printable
from cnn_jax.report.compare import Difference, columns, interval_of
from cnn_jax.report.costs import costs, mean_costs
from cnn_jax.report.page import content
from cnn_jax.report.page.content import Best, Part
from cnn_jax.report.page.markup import (
    AND_MORE,
    TEXT,
    Cell,
    amount,
    bullets,
    duration,
    heads_of,
    link,
    notes,
    of_class,
    plural,
    score_cell,
    table,
    text,
    word_cells,
)
from cnn_jax.report.page.pictures import Picture
from cnn_jax.report.runs import TEST, VALIDATION, Group, Run, scored_at

SETTINGS, COLUMNS, FIELDS = 6, 60, 40  # of a table at most
SHOWN = 8  # curves that have a colour of their own


def name(part: Part) -> str:
    """What the groups of a part have in common."""
    return f"{text(part.first.data['name'])}, {text(part.headline)}"


def heading(part: Part) -> str:
    """Of which experiments and data the runs are, and what was noted of the data."""
    data, runs = part.first.data, [run for group in part.groups for run in group.runs]
    names = list(dict.fromkeys(str(run.config.get("name", "")) for run in runs))
    shown = ", ".join(map(text, names[:SETTINGS])) + (" …" if len(names) > SETTINGS else "")
    words = [f"{plural(len(runs), 'run')} of {shown}"]
    if isinstance(data.get("examples"), int):
        words.append(f"{data['examples']:,} training examples")
    words.append(f"data fingerprint <code>{text(part.first.fingerprint[:12])}</code>")
    noted = [run.data["notes"] for run in runs if isinstance(run.data.get("notes"), list)]
    said = list(dict.fromkeys(str(note) for found in noted for note in found))
    listed = bullets("What was left out, changed or guessed of the data", said)
    return f'<h2>{name(part)}</h2><p class="soft">{"; ".join(words)}</p>{listed}'


class Compared(NamedTuple):
    """What all others are compared with, and the difference of each, by the label of the group."""

    first: str
    differences: dict[str, Difference]


def scores(part: Part, ranking: Best, fields: content.Fields, compared: Compared | None, folder: Path) -> str:
    """The table of groups, the sentence on the best by validation, and below all scores and all runs."""
    pairs = columns(part.groups)[:COLUMNS]
    settings = list(fields.settings.items())[:SETTINGS]
    best = part.groups[0] if len(part.groups) > 1 and ranking.scores else None
    heads = [Cell("run"), Cell("n", "number"), *heads_of([f"{split} {name}" for split, name in pairs])]
    heads += heads_of([name for name, _ in settings], "")
    heads += [Cell(f"compared with {text(compared.first)}")] if compared else []
    rows = []
    for number, group in enumerate(part.groups):
        cells = [Cell(str(len(group.runs)), "number", len(group.runs)), *_group_scores(group, pairs)]
        cells += word_cells([values[number] for _, values in settings])
        if compared:
            found = compared.differences.get(group.label)
            cells.append(Cell(f"{text(found.gain)}<small>{text(found.words)}</small>" if found else "", "gain"))
        mark = '<br><small class="mark">best by validation</small>' if group is best else ""
        kind = of_class("best" if group is best else "")
        rows.append((kind, Cell(_pick(number, group) + mark, "", group.label), cells))
    said = f"{scored_at(part.groups)}; {interval_of(part.groups)}"
    return (
        f"<h3>Scores</h3>{_best(part, ranking)}{table(heads, rows, tall=True)}"
        f'<p class="note">Scored at: {text(said)}.</p>{_every_score(part)}{_every_run(part, pairs, folder)}'
    )


def _pick(number: int, group: Group) -> str:
    box = f'<input type="checkbox" data-group="{number}" aria-label="draw in colour">'
    return f'<label><span class="pick live-only">{box}</span>{text(group.label)}</label>'


def _best(part: Part, ranking: Best) -> str:
    if len(part.groups) == 1:
        return ""
    if ranking.why_not:
        return f"<p>No best one: {text(ranking.why_not)}.</p>"
    chosen = part.groups[0]
    words = [
        f"Best by validation, of {plural(len(ranking.scores), 'configuration')}: <b>{text(chosen.label)}</b>, "
        f"{text(ranking.by.name)} {_inline(ranking.scores[0])} over {plural(len(chosen.runs), 'seed')}."
    ]
    if ranking.close:
        words.append(
            f"The intervals of {ranking.close} others overlap with its own, which leaves open which is better."
        )
    if (score := chosen.score(TEST, part.headline)) is not None:
        words.append(f"Its test {text(part.headline)} is {_inline(score)}.")
    return f"<p>{' '.join(words)}</p>"


def _inline(score: Score) -> str:
    return digits(score.value) + (f" [{score.low:.4f}, {score.high:.4f}]" if score.low is not None else "")


def _every_score(part: Part) -> str:
    """All scores: of one group a row for each, of several a column."""
    runs = [run for group in part.groups for run in group.runs]
    splits = list(dict.fromkeys([TEST, VALIDATION, *(split for run in runs for split in run.scores)]))
    splits = [split for split in splits if any(split in run.scores for run in runs)]
    names = list(dict.fromkeys(name for run in runs for scores in run.scores.values() for name in scores))
    pairs = [(split, name) for split in splits for name in names]
    pairs = [pair for pair in pairs if any(group.score(*pair) is not None for group in part.groups)]
    if len(part.groups) == 1:
        heads = [Cell("score"), *heads_of(splits[:COLUMNS])]
        rows = [
            ("", Cell(text(name)), _group_scores(part.groups[0], [(split, name) for split in splits[:COLUMNS]]))
            for name in names[:COLUMNS]
        ]
    else:
        heads = [Cell("run"), *heads_of([f"{split} {name}" for split, name in pairs[:COLUMNS]])]
        rows = [("", Cell(text(g.label)), _group_scores(g, pairs[:COLUMNS])) for g in part.groups]
    more = f'<p class="note">{AND_MORE.format(len(pairs) - COLUMNS)}</p>' if len(pairs) > COLUMNS else ""
    return f"<details><summary>All scores ({len(pairs)})</summary>{table(heads, rows, tall=True)}{more}</details>"


def _every_run(part: Part, pairs: Sequence[tuple[str, str]], folder: Path) -> str:
    names = [f"{split} {name}" for split, name in pairs]
    heads = [Cell("folder"), *heads_of(["seed", *names, "scored at step", "seconds"])]
    rows = []
    for group in part.groups:
        for run in group.runs:
            seconds = run.results["seconds"]["total"]
            cells = [Cell(str(run.seed), "number", run.seed)]
            cells += [score_cell(run.scores.get(split, {}).get(name)) for split, name in pairs]
            cells += [Cell(f"{run.step:,}", "number", run.step), Cell(f"{seconds:,.0f}", "number", seconds)]
            rows.append(("", Cell(link(run.folder, folder), "", printable(run.folder)[:TEXT]), cells))
    return f"<details><summary>Every run ({len(rows)})</summary>{table(heads, rows, tall=True)}</details>"


def _group_scores(group: Group, pairs: Sequence[tuple[str, str]]) -> list[Cell]:
    return [score_cell(group.score(*pair), len(group.values(*pair)), len(group.runs)) for pair in pairs]


def curves(part: Part, drawn: content.Curves) -> str:
    """Where the script draws what was logged, and what is to be known of it."""
    if not drawn.metrics:
        return notes(drawn.notes)
    many = len(part.groups) > SHOWN
    repeated = max(len(group.runs) for group in part.groups) > 1
    said = ["The band is the 95 % interval of the mean over seeds."] if repeated else []
    said += [f"Up to {SHOWN} are coloured, those checked in the table of scores; the others are grey."] if many else []
    said += [f"A curve of more than {content.POINTS} points is drawn as the means of {content.POINTS} parts."]
    return (
        '<h3>Curves</h3><div class="live-only"><div class="controls" data-controls="curves"></div>'
        f'<div class="legend"></div><div data-chart="curves"></div></div>{notes([*said, *drawn.notes])}'
    )


def coordinates(part: Part, fields: content.Fields) -> str:
    """Where the script draws parallel coordinates: of three groups or more that differ in two settings or more."""
    if len(fields.settings) < 2 or len(part.groups) < 3:
        return ""
    more = len(fields.settings) - content.AXES
    said = ["A line is a configuration. Drag along an axis to keep a range of it, click it to keep all."]
    said += [f"{more} further fields that differ are in the table below."] if more > 0 else []
    return (
        '<h3>Parallel coordinates</h3><div class="scroll live-only"><div class="chart" data-chart="coordinates"></div>'
        f"</div>{notes(said)}"
    )


def differing(part: Part, fields: content.Fields) -> str:
    """What differs between the groups, as far as the table of scores does not say it."""
    if len(part.groups) == 1:
        return ""
    every = list({**fields.settings, **fields.others}.items())
    if not every:
        return "<h3>What differs</h3><p>Nothing, in configuration, data, devices and versions.</p>"
    if len(fields.settings) <= SETTINGS and not fields.others:
        return "<h3>What differs</h3><p>The settings in the table of scores, and nothing else.</p>"
    heads = [Cell("run"), *heads_of([name for name, _ in every[:FIELDS]], "")]
    rows = [
        ("", Cell(text(group.label), "", group.label), word_cells([values[number] for _, values in every[:FIELDS]]))
        for number, group in enumerate(part.groups)
    ]
    more = [AND_MORE.format(f"{len(every) - FIELDS} fields")] if len(every) > FIELDS else []
    return f"<h3>What differs</h3>{table(heads, rows, tall=True)}{notes(more)}"


def spent(part: Part) -> str:
    """What the runs have cost."""
    found = list(mean_costs(part.groups).items())[:COLUMNS]
    heads = [Cell("run"), *heads_of([name.replace("_", " ") for name, _ in found]), Cell("devices")]
    rows = []
    for number, group in enumerate(part.groups):
        cells = [
            Cell(amount(values[number]), "number", "" if values[number] is None else values[number])
            for _, values in found
        ]
        devices = ", ".join(dict.fromkeys(run.results["devices"] for run in group.runs))
        rows.append(("", Cell(text(group.label), "", group.label), [*cells, *word_cells([devices])]))
    seconds = sum(costs(run).get("seconds total", 0) for group in part.groups for run in group.runs)
    said = f"All runs together: {duration(seconds)}. " + (
        "Means over the seeds of a configuration." if max(len(group.runs) for group in part.groups) > 1 else ""
    )
    chart = '<div class="chart live-only" data-chart="cost"></div>' if len(part.groups) > 1 else ""
    return f"<h3>Cost</h3>{chart}{table(heads, rows, tall=True)}{notes([said])}"


def shown_pictures(shown: Sequence[tuple[Run, list[Picture]]], folder: Path) -> str:
    """The pictures of a run of each group; of those without content a link."""
    blocks, without, opened = [], 0, " open"
    for run, found in shown:
        if not found:
            continue
        inside = [picture for picture in found if picture.content is not None]
        figures = "".join(_figure(picture) for picture in inside)
        outside = [link(picture.path, folder) for picture in found if picture.content is None]
        without += len(outside)
        links = f'<p class="note">In its folder: {", ".join(outside)}</p>' if outside else ""
        title = f"{text(run.folder)} ({plural(len(inside), 'picture')})"
        blocks.append(
            f'<details{opened}><summary>{title}</summary><div class="pictures">{figures}</div>{links}</details>'
        )
        opened = ""
    if not blocks:
        return ""
    said = [f"{without} pictures are not in this file: there is no room, or they are no PNG."] if without else []
    return f"<h3>Pictures</h3>{''.join(blocks)}{notes(said)}"


def _figure(picture: Picture) -> str:
    return figure(picture.path.stem.replace("_", " "), picture.content or b"")


def figure(title: str, content: bytes) -> str:
    """A PNG file and what stands below it."""
    name, source = text(title), base64.b64encode(content).decode()
    image = f'<img alt="{name}" loading="lazy" decoding="async" src="data:image/png;base64,{source}">'
    return f"<figure>{image}<figcaption>{name}</figcaption></figure>"
