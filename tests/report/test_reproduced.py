"""The table of published scores: what the page draws and says, of rows as hostile as a file may be."""

import re

import pytest

from cnn_jax.report import reproduced
from cnn_jax.report.page.reproduced import page

COST = {"seconds": 95.0, "train_seconds": 80.0, "parameters": 1234.0, "flops": 3e12, "memory": 2e9, "joules": None}


def row(scores: dict[str, float], **changed):
    return {
        "row": "table.first",
        "title": "Two </table><script>alert(1)</script> layers",
        "name": "first",
        "paper": {"score": "top1", "value": 0.9, "margin": 0.01, "source": "A & B 1998", "protocol": "Alike. " * 80},
        "expected": {"seconds": 90.0, "seeds": 3, "on": "2 CPU cores"},
        "split": "test",
        "scores": scores,
        "mean": sum(scores.values()) / len(scores) if scores else None,
        "interval95": [0.89, 0.905] if len(scores) > 1 else None,
        "verdict": "reproduced" if len(scores) > 1 else None,
        "verdict_in_words": "reproduced" if len(scores) > 1 else None,
        "cost": COST if scores else dict.fromkeys(COST),
        "devices": "2 x cpu",
        "versions": {"jax": "0.10.2"} if scores else {},
        "folders": [],
        "error": None if scores else "the data are not here",
        **changed,
    }


def test_the_page_draws_paper_and_ours_on_one_axis_and_needs_nothing_else():
    done = row({"0": 0.89, "1": 0.9, "2": 0.91})
    html = page([done, row({}), row({"0": 0.5})], ["table.last: the data are not here"])
    assert "3 published scores: 2 not run, 1 reproduced." in html and "What could not be run (1)" in html
    assert html.count("<script") == 2 and "alert(1)&lt;/script&gt;" in html  # its own two, one of them data
    assert not re.search(r"(src|href)=.http|@import|url\(", html)
    assert "2 not run" in html and html.count('class="forest"') == 3 and 'class="words good"' in html
    band, paper, ours = (re.search(f'class="{name}" [^>]*', html)[0] for name in ("band", "paper", "ours"))
    left, width = (float(re.search(rf' {name}="([\d.]+)"', band)[1]) for name in ("x", "width"))
    middle = float(re.search(r' d="M([\d.]+) ', paper)[1])
    low, high = map(float, re.search(r"M([\d.]+) [\d.]+H([\d.]+)", ours).groups())
    assert middle == pytest.approx(left + width / 2, abs=0.1)  # 0.9 in the middle of 0.89 to 0.91
    assert low == pytest.approx(left, abs=0.1) and high == pytest.approx(left + width * 0.75, abs=0.1)
    assert html.count("Alike.") == 3 * 80  # at length


def test_a_row_in_words():
    said = reproduced.lines(row({"0": 0.89, "1": 0.9, "2": 0.91}))
    assert said[1:4] == [
        "  paper     top1 0.9000, margin 0.01; A & B 1998",
        "  ours      top1 0.9000, 95 % interval 0.8900 to 0.9050 (n=3)",
        "  verdict   reproduced",
    ]
    cost = "  cost      a seed: 95 s (90 s expected on 2 CPU cores), 1,234 parameters, 3e+12 FLOPs, 2.00 GB at most;"
    assert "\n".join(said).count(cost) == 1
    assert max(map(len, said)) <= 120
    assert "  verdict   none: the data are not here" in reproduced.lines(row({}))
