"""report: which folders are compared, what is said of the others, and where the page goes."""

import json
import shutil
from pathlib import Path

import pytest

from cnn_jax.launch import cli
from cnn_jax.report import side_by_side


@pytest.fixture(autouse=True)
def not_drawn(monkeypatch):
    """What the figures show, tests/report looks at."""
    monkeypatch.setattr(side_by_side, "draw", lambda groups, path: path.parent.mkdir(exist_ok=True) or path.touch())


def test_runs_are_found_in_a_folder_and_the_unfinished_are_said(trained, tmp_path, monkeypatch, launch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/a", "runs/deep/b", "runs/unfinished"):
        shutil.copytree(trained, name)
    (tmp_path / "runs/unfinished/results.json").unlink()
    path = tmp_path / "runs/deep/b/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "keep": 7}))
    said = launch("report", "runs", "--csv=all.csv")
    assert said.code == 0 and said.err.splitlines() == [
        "warning: 'runs/unfinished' is not finished (step 6 is the last in its log): launch.py train goes on with it"
    ]
    assert "paired 95 % interval +0.0000 to +0.0000 over 899 examples" in said.out
    assert said.out.splitlines()[-5:] == [
        "  keep",
        "    2   (a)",
        "    7   (deep/b)",
        "table in all.csv",
        "page in runs/report.html",
    ]
    assert (tmp_path / "all.csv").read_text().count("\n") == 3
    assert "deep/b" in (tmp_path / "runs/report.html").read_text()
    assert launch("report", "runs/a", "--out=new.svg").out.endswith("drawn in new.svg\n")
    again = launch("report", *sorted(Path("runs").glob("[ar]*")))  # with the page, as runs/* names it
    assert again.code == 0 and "page in runs/a/figures/report.html" in again.out
    assert launch("report", "runs/a").out.endswith("page in runs/a/figures/report.html\n")


def test_what_was_named_and_cannot_be_compared_is_an_error(trained, run, tmp_path, monkeypatch, launch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "imported").mkdir()
    (tmp_path / "imported" / "predictor.json").write_text("{}")
    (run / "results.json").unlink()
    said = launch("report", trained, "foreign", "imported", "nowhere", run, "--out=x.png")
    assert said.code == cli.BAD_INPUT and "top1" in said.out
    assert said.err.splitlines() == [
        "warning: 'foreign' is no run folder and holds none",
        "warning: 'imported' holds imported weights, which have no training: launch.py eval scores them",
        "warning: there is no folder 'nowhere'",
        f"warning: '{run}' is not finished (step 6 is the last in its log): launch.py train goes on with it",
        "error: 4 of 5 could not be compared",
    ]
    for words, text in (
        ((), "say at least one run: launch.py report RUN"),
        ((trained, "--out=x.jpg"), "ends in .html, .png, .pdf or .svg"),
        (("foreign",), "'foreign' is no run folder"),
        ((run.parent,), "there is no finished run"),
    ):
        said = launch("report", *words)
        assert said.code == cli.BAD_INPUT and said.out == "" and text in said.err.splitlines()[-1]
