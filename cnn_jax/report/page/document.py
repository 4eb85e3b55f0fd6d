"""The page as HTML. Whatever comes from a run folder goes through `markup`, `json` or base64, and no script of it runs.

The page's own script and style are named by their hashes in its Content-Security-Policy: a browser runs nothing else of
it, and fetches nothing.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn_jax.report.compare import Difference
from cnn_jax.report.page import content, sections
from cnn_jax.report.page.content import Part
from cnn_jax.report.page.markup import bullets, plural, text
from cnn_jax.report.page.pictures import ROOM, pictures
from cnn_jax.report.runs import Group

NO_SCRIPT = "The charts need a script, which is in this file and is not allowed to run here."


def page(groups: Sequence[Group], differences: Sequence[Difference], left_out: Sequence[str], folder: Path) -> str:
    """The whole page, to be written into `folder`, to which its links are relative.

    differences: of each group but the first from the first. left_out: in lines, what could not be compared.
    """
    found, room, pictured = content.parts(groups), content.NUMBERS, ROOM
    gains = {group.label: difference for group, difference in zip(groups[1:], differences, strict=True)}
    compared = sections.Compared(groups[0].label, gains) if len(groups) > 1 else None
    bodies, data = [], []
    for number, (part, ranking) in enumerate(found):
        fields, own = content.fields(part), len(part.groups) > 1 and any(one is groups[0] for one in part.groups)
        drawn = content.curves(part, room)
        room = drawn.room
        # What room there is goes to those that are looked at first.
        shown = list(pictures([group.runs[0] for group in part.groups], pictured))
        pictured -= sum(len(picture.content or b"") for _, of_run in shown for picture in of_run)
        data.append(content.chart_data(part, ranking, drawn, fields.settings))
        pieces = [
            sections.heading(part),
            sections.scores(part, ranking, fields, compared if own else None, folder),
            sections.curves(part, drawn),
            sections.coordinates(part, fields),
            sections.differing(part, fields),
            sections.spent(part),
            sections.shown_pictures(shown, folder),
        ]
        bodies.append(f'<section id="part{number}" data-part="{number}">{"".join(pieces)}</section>')
    count = sum(len(group.runs) for group in groups)
    title = f"{plural(count, 'run')} in {plural(len(groups), 'configuration')}" if count > 1 else groups[0].label
    return framed(title, _contents([part for part, _ in found]), "".join(bodies) + _left_out(left_out), data)


def framed(title: str, head: str, body: str, data: Sequence[Any] = ()) -> str:
    """A whole page. title: as text; head and body: as HTML; data: of the charts in it, as the script reads them."""
    style, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    values = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    unheard = f'<noscript><p class="note">{NO_SCRIPT}</p></noscript>' if data else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{text(title)}</h1>{head}</header>
{unheard}
{body}
<div id="tip" hidden></div>
<script type="application/json" id="data">{values}</script>
<script>{script}</script>
</body>
</html>
"""


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _contents(found: Sequence[Part]) -> str:
    if len(found) < 2:
        return ""
    links = (f'<a href="#part{number}">{sections.name(part)}</a>' for number, part in enumerate(found))
    why = "Runs of other data or another headline score are not comparable; they stand in parts of their own."
    return f'<p class="soft">{why}</p><nav>{"".join(links)}</nav>'


def _left_out(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return f"<section><h2>Left out</h2>{bullets('What could not be compared', lines)}</section>"
