"""The page of runs side by side: what is in it, what a browser makes of it, and what it does not let through."""

import base64
import hashlib
import json
import math
import random
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax.report import compare, costs, runs
from cnn_jax.report.page import content, document
from cnn_jax.report.page.pictures import pictures
from tests.report import browser, made_runs

Groups = list[runs.Group]


def read(*folders: Path) -> Groups:
    groups, repeated = runs.grouped([runs.read(folder) for folder in folders])
    assert not repeated
    return groups


def written(folder: Path, groups: Groups, left_out: tuple[str, ...] = ()) -> Path:
    path = folder / "report.html"
    path.write_text(document.page(groups, compare.differences(groups), left_out, folder))
    return path


def data_of(page: str) -> Any:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    return json.loads(found)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Groups:
    """Six configurations of three seeds, 30 rows of training each."""
    return read(*made_runs.sweep(tmp_path_factory.mktemp("sweep"), configurations=6, seeds=3, rows=30))


def one(folder: Path, name: str, lr: float = 0.1, **more: Any) -> Path:
    return made_runs.run(folder / name, {**made_runs.SETTINGS[0], "lr": lr}, rows=3, **more)


def test_the_best_by_validation_comes_first_and_what_cannot_be_told_from_it_is_counted(swept: Groups) -> None:
    ((part, ranking),) = content.parts(swept)
    means = [np.mean(group.values("validation", "top1")) for group in part.groups]
    assert means == sorted(means, reverse=True) and [score.value for score in ranking.scores] == pytest.approx(means)
    first = ranking.scores[0]
    assert first.low is not None
    overlap = [score for score in ranking.scores[1:] if score.high is not None and score.high >= first.low]
    assert 0 < ranking.close == len(overlap) < 5 and ranking.why_not == ""


def test_no_test_score_makes_a_best_one(tmp_path: Path) -> None:
    groups = read(*(one(tmp_path, f"r{lr}", lr, results={"validation": None}) for lr in (0.01, 0.1)))
    ((part, ranking),) = content.parts(groups)
    assert part.groups == tuple(groups) and ranking.scores == [] and "no run was validated" in ranking.why_not
    other = one(tmp_path, "other", data={"fingerprint": "b" * 64})
    shares = [one(tmp_path, f"s{share}", config={"data": {"validation": share}}) for share in (0.1, 0.2)]
    (_, alone), (_, split) = content.parts(read(other, *shares))
    assert len(alone.scores) == 1 and "different splits" in split.why_not
    page = document.page(groups, compare.differences(groups), (), tmp_path)
    assert "best by validation" not in page and "No best one: no run was validated" in page


def test_what_chose_the_checkpoints_chooses_the_run(tmp_path: Path) -> None:
    by = {"evaluate": {"best_by": "-loss"}}
    folders = [one(tmp_path, f"r{lr}", lr, config={**by, "optim": {"lr": lr}}) for lr in (0.01, 0.1)]
    results = json.loads((folders[0] / "results.json").read_text())
    results["validation"]["loss"] = 0.0
    (folders[0] / "results.json").write_text(json.dumps(results))
    ((part, ranking),) = content.parts(read(*folders))
    assert ranking.by == ("loss", -1) and part.groups[0].label == "r0.01"


def test_curves_are_means_over_seeds_with_their_interval(swept: Groups) -> None:
    ((part, _),) = content.parts(swept)
    drawn = content.curves(part, content.NUMBERS)
    assert [metric["name"] for metric in drawn.metrics][:2] == ["top1", "loss"] and drawn.notes == []
    found = {split["name"]: split["curves"] for split in drawn.metrics[1]["splits"]}
    assert list(found) == ["train", "validation"] and len(found["train"]) == 6
    curve, group = found["train"][2], part.groups[2]
    values = [[row["loss"] for row in run.rows if row["split"] == "train"] for run in group.runs]
    assert drawn.steps[curve["x"]] == [10 * number for number in range(1, 31)]
    np.testing.assert_allclose(curve["m"], np.mean(values, axis=0), rtol=1e-4)
    half = 4.30265 * np.std(values, axis=0, ddof=1) / 3**0.5
    np.testing.assert_allclose(curve["h"], np.mean(values, axis=0) + half, rtol=1e-4)
    np.testing.assert_allclose(curve["y"], values, rtol=1e-4)
    less = content.curves(part, 3000)
    assert [metric["name"] for metric in less.metrics] == ["top1", "loss"]
    assert less.notes == ["3 of 5 logged scores have no curves here, as the page would be too large: learning_rate"]


def logged(folder: Path, steps: list[int], values: list[Any]) -> None:
    rows = [{"step": step, "split": "train", "top1": value} for step, value in zip(steps, values, strict=True)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_curves_are_thinned_and_seeds_meet_at_common_steps(tmp_path: Path) -> None:
    folders = [one(tmp_path, f"s{seed}", seed=seed) for seed in range(2)]
    many = list(range(1, 1001))
    logged(folders[0], many, [*range(999), "NaN"])
    logged(folders[1], many, [1e39] * 5 + [7] * 995)
    ((part, _),) = content.parts(read(*folders))
    ((split,),) = [metric["splits"] for metric in content.curves(part, 10**6).metrics]
    (curve,) = split["curves"]
    assert curve["y"][0][:2] == [2, 7] and curve["y"][0][-1] == 996.5 and len(curve["y"][0]) == content.POINTS
    assert curve["y"][1][:2] == [None, 7] and curve["m"][:2] == [None, 7]
    logged(folders[1], [2, 4, 1000, 2000], [1, 2, 3, 4])
    ((part, _),) = content.parts(read(*folders))
    drawn = content.curves(part, 10**6)
    assert drawn.steps == [[2, 4, 1000]] and drawn.metrics[0]["splits"][0]["curves"][0]["m"] == [1, 2.5, None]
    logged(folders[1], [2000], [1])
    ((part, _),) = content.parts(read(*folders))
    assert content.curves(part, 10**6).notes == ["1 curves are not drawn: the seeds were logged at no step in common"]


def test_axes_are_numbers_or_words_in_order() -> None:
    found = content.axes(
        {
            "lr": ["0.001", "0.1", "–"],
            "decay": ["0", "1", "2"],
            "duration": ["20 epochs", "5 epochs", "5 epochs"],
            "build": ["small_cnn(act=relu, width=8)", "small_cnn(act=relu, width=16)", "small_cnn(act=gelu, width=8)"],
        }
    )
    assert [(axis["at"], axis["log"], axis["ticks"]) for axis in found] == [
        ([0.001, 0.1, None], True, None),
        ([0, 1, 2], False, None),
        ([1, 0, 0], False, ["5 epochs", "20 epochs"]),
        ([2, 1, 0], False, ["…act=gelu, width=8)", "…act=relu, width=16)", "…act=relu, width=8)"]),
    ]


def test_costs_are_all_numbers_that_are_no_scores(tmp_path: Path) -> None:
    energy = {"energy": {"joules": 5.5, "source": "NVML", "deep": {"er": {"and": {"deeper": 1}}}}, "peak": 1e40}
    (group,) = read(*(one(tmp_path, f"s{seed}", seed=seed, results={"multiply_adds": 7, **energy}) for seed in (0, 1)))
    assert costs.costs(group.runs[0]) == {
        "parameters": 16000, "steps": 30, "seconds total": 64.0, "seconds train": 48.0, "seconds compile": 5.0,
        "examples per second": 900.0, "multiply_adds": 7, "energy joules": 5.5,
    }  # fmt: skip
    assert costs.mean_costs([group])["seconds total"] == [64.5]


def test_pictures_of_the_run_are_taken_and_nothing_else(tmp_path: Path) -> None:
    folders = [one(tmp_path, "a"), one(tmp_path, "b", 0.2), one(tmp_path, "c", 0.3)]
    figures = folders[0] / "figures"
    for name in ("classes.png", "gallery.png", "confusion_matrix.png", "learning_curves.png", "report.png"):
        made_runs.picture(figures / name)
    made_runs.picture(figures / "huge.png", side=100_000)
    made_runs.picture(figures / "large.png", more=3_000_000)
    (figures / "text.png").write_text("secret" * 10)
    (figures / "link.png").symlink_to(figures / "gallery.png")
    (figures / "page.svg").write_text("<svg/>")
    made_runs.picture(tmp_path / "elsewhere" / "gallery.png")
    (folders[1] / "figures").symlink_to(tmp_path / "elsewhere")
    found = list(pictures([run for group in read(*folders) for run in group.runs]))
    taken = {p.path.name: p.content is not None for _, of_run in found for p in of_run}
    assert list(taken)[:3] == ["confusion_matrix.png", "gallery.png", "classes.png"]
    assert taken == {"confusion_matrix.png": True, "gallery.png": True, "classes.png": True} | dict.fromkeys(
        ("huge.png", "large.png", "text.png"), False
    )
    size = (figures / "gallery.png").stat().st_size
    (_, few), *_ = pictures([read(folders[0])[0].runs[0]], 2 * size)
    assert [picture.content is not None for picture in few] == [True, True, False, False, False, False]
    page = document.page(read(*folders), compare.differences(read(*folders)), (), tmp_path)
    assert page.count("<img ") == 3 and 'href="./a/figures/large.png"' in page and "link.png" not in page
    assert "3 pictures are not in this file" in page


HOSTILE = '</script><script>document.title = "taken"</script><img src=x onerror=alert(1)>" onmouseover="alert(1)'


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of runs whose every text wants to be markup, with pictures."""
    folder = tmp_path_factory.mktemp("hostile")
    texts = {
        "config": {"name": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}},
        "data": {"name": HOSTILE, "fingerprint": HOSTILE, "notes": [HOSTILE, {HOSTILE: 1}]},
        "versions": {HOSTILE: HOSTILE},
        "results": {"devices": HOSTILE, HOSTILE: {HOSTILE: 3}, "also": {HOSTILE: {HOSTILE: 0.5, "top1": 0.5}}},
    }
    folders = [one(folder, "javascript:alert(1)", **texts), one(folder, '<b>"&', 0.2, data=texts["data"])]
    folders += [one(folder, f"plain{lr}", lr, data=texts["data"], config={"name": f"\u202e{lr}"}) for lr in (0.3, 0.4)]
    made_runs.picture(folders[0] / "figures" / "gallery.png")
    made_runs.picture(folders[0] / "figures" / '"><script>1<.png')
    with (folders[0] / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 3, "split": HOSTILE, HOSTILE: 1.0}) + "\n")
    return written(folder, read(*folders), (HOSTILE,))


class Tags(HTMLParser):
    """The tags of a page, and their attributes, as a parser finds them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def test_texts_stay_texts_and_the_page_asks_for_nothing(hostile: Path) -> None:
    page = hostile.read_text()
    scripts = re.findall(r"<script[^>]*>", page)
    assert scripts == ['<script type="application/json" id="data">', "<script>"] and "\u202e" not in page
    assert set(re.findall(r"\w+://[^\"'\s]*", page)) == {"http://www.w3.org/2000/svg"}
    found = Tags(page)
    assert found.names.count("script") == 2 and found.names.count("img") == 2
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert all(value.startswith(("#", "./")) for name, value in found.attributes if name == "href")
    assert all(value.startswith("data:image/png;base64,") for name, value in found.attributes if name == "src")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    for kind, body in {"style": "<style>(.*?)</style>", "script": "<script>(.*?)</script>"}.items():
        (text,) = re.findall(body, page, flags=re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy


VALUES = [
    None,
    True,
    -1,
    3.5,
    1e308,
    math.inf,
    math.nan,
    10**30,
    "",
    "x",
    "NaN",
    [],
    [1],
    {},
    {"a": 1},
    "\ud800",
    "x" * 9999,
]


def test_whatever_stands_in_run_folders_is_compared_or_refused_in_a_line(tmp_path: Path) -> None:
    draw, compared = random.Random(1), 0
    folders = made_runs.sweep(tmp_path / "runs", configurations=2, seeds=2, rows=4)
    whole = {path: path.read_text() for folder in folders for path in folder.iterdir()}
    for _ in range(30):
        for path in draw.sample(sorted(whole), 4):
            lines = [json.loads(line) for line in whole[path].splitlines()]
            at = draw.choice(lines)
            while isinstance(at.get(key := draw.choice(list(at))), dict) and at[key] and draw.random() < 0.8:
                at = at[key]
            at[key] = draw.choice(VALUES)
            path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        found = []
        for folder in folders:
            with suppress(ValueError), warnings.catch_warnings(action="ignore"):
                found.append(runs.read(folder))
        if found:
            groups, _ = runs.grouped(found)
            compare.lines(groups, compare.differences(groups))
            compare.write_csv(groups, tmp_path / "all.csv")
            assert written(tmp_path, groups).stat().st_size < 3e5
            compared += len(found)
        for path, text in whole.items():
            path.write_text(text)
    assert 30 < compared < 120


def test_two_hundred_runs_take_three_seconds_and_little_room(tmp_path: Path) -> None:
    folders = made_runs.sweep(tmp_path)
    for folder in folders[::5]:
        made_runs.picture(folder / "figures" / "gallery.png", more=1_500_000)
    assert len(folders) == 200
    began = time.process_time()
    groups = read(*folders)
    compare.lines(groups, compare.differences(groups))
    path = written(tmp_path, groups)
    assert time.process_time() - began < 3 and path.stat().st_size < 20e6
    page = path.read_text()
    assert page.startswith("<!DOCTYPE html>") and "<h1>200 runs in 40 configurations</h1>" in page
    assert page.count("<img ") == 5 and "35 pictures are not in this file" in page
    assert "Best by validation, of 40 configurations: <b>c" in page


def test_one_run_has_a_page_of_its_own(tmp_path: Path) -> None:
    page = written(tmp_path, read(one(tmp_path, "only"))).read_text()
    assert "<h1>only</h1>" in page and "Best by" not in page and "Parallel" not in page and "What differs" not in page
    assert '<th scope="row">top5</th>' in page and data_of(page)[0]["groups"] == [{"name": "only", "epoch": 100.0}]


@pytest.fixture(scope="module")
def tab() -> Iterator[browser.Browser]:
    program = browser.program()
    if program is None:
        pytest.skip(f"there is no browser here, none of {', '.join(browser.NAMES)}")
    with browser.browser(program) as found:
        yield found


def test_a_browser_draws_all_and_runs_nothing_of_a_strangers(tab: browser.Browser, hostile: Path) -> None:
    tab.open(hostile)
    assert tab.said == [] and tab.value("document.title") != "taken"
    assert tab.value("document.querySelectorAll('script').length") == 2
    assert tab.value("[...document.querySelectorAll('.pictures img')].length") == 2
    tab.value("document.querySelector('.pictures').scrollIntoView()")
    images = "[...document.images]"
    loaded = f"Promise.all({images}.map(i => i.decode())).then(() => {images}.map(i => i.naturalWidth))"
    assert tab.value(loaded) == [64, 64]
    names = "[...document.querySelectorAll('[data-chart=curves] .title')].map(t => t.textContent)"
    assert tab.value(names) == ["top1, train", "loss, train"]


def test_a_browser_does_what_it_is_told(tab: browser.Browser, tmp_path: Path, swept: Groups) -> None:
    path = written(tmp_path, swept)
    for width, dark in ((1280, False), (380, True)):
        tab.open(path, width=width, dark=dark)
        assert tab.value("document.documentElement.scrollWidth") <= width and tab.said == []
    tab.open(path)
    drawn = "document.querySelectorAll('[data-chart=curves] .{}').length"
    assert [tab.value(drawn.format(kind)) for kind in ("curve", "band", "other", "seed")] == [24, 24, 0, 0]
    tab.value("document.querySelector('input[data-group]').click()")
    assert [tab.value(drawn.format(kind)) for kind in ("curve", "other")] == [20, 4]
    tab.value("document.querySelector('.controls input').click()")
    assert tab.value(drawn.format("seed")) == 60
    choose = "(n, v) => {const s = document.querySelectorAll('.controls select')[n]; s.value = v; "
    tab.value(f"({choose} s.dispatchEvent(new Event('change'))}})(0, 'grad_norm')")
    assert tab.value("document.querySelector('[data-chart=curves] .title').textContent") == "grad_norm, train"
    label = "document.querySelector('[data-chart=curves] svg').querySelector('text:last-of-type').textContent"
    tab.value(f"({choose} s.dispatchEvent(new Event('change'))}})(2, 'epoch')")
    assert tab.value(label) == "epoch"
    # The pointer over a chart says the values there.
    tab.value("document.querySelector('[data-chart=curves]').scrollIntoView()")
    box = "(e => {const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]})"
    x, y, width, height = tab.value(f"{box}(document.querySelector('[data-chart=curves] svg'))")
    tab.press("mouseMoved", x + width / 2, y + height / 2)
    said = tab.value("document.getElementById('tip').innerText")
    assert said.startswith("epoch 1.") and said.count("c0") == 5 and "[" in said
    # Sorting by a column.
    first = "[...document.querySelectorAll('table')[0].tBodies[0].rows].map(r => Number(r.cells[{0}].dataset.value))"
    for _ in range(2):
        tab.value("document.querySelectorAll('table')[0].tHead.rows[0].cells[2].querySelector('button').click()")
    values = tab.value(first.format(2))
    assert values == sorted(values) and len(values) == 6
    # A range of an axis of the parallel coordinates keeps the lines that pass through it; a click keeps all.
    kept = "document.querySelectorAll('[data-chart=coordinates] .path:not(.off)').length"
    assert tab.value(kept) == 6
    tab.value("document.querySelector('[data-chart=coordinates]').scrollIntoView()")
    x, y, width, height = tab.value(f"{box}([...document.querySelectorAll('[data-chart=coordinates] .handle')].at(-1))")
    for kind, at in (("mousePressed", 0.0), ("mouseMoved", 0.1), ("mouseMoved", 0.2), ("mouseReleased", 0.2)):
        tab.press(kind, x + width / 2, y + 1 + at * height)
    assert 0 < tab.value(kept) < 6
    for kind in ("mousePressed", "mouseReleased"):
        tab.press(kind, x + width / 2, y + height / 2)
    assert tab.value(kept) == 6 and tab.said == []
