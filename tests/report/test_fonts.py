"""Letters of all scripts in figures: from the system's fonts, and said where none has them."""

import warnings
from pathlib import Path

import pytest
from matplotlib import font_manager

from cnn_jax.report import fonts
from cnn_jax.report.figures import new_figure, save


@pytest.fixture(autouse=True)
def forget() -> None:
    fonts._said.clear()
    fonts._families.cache_clear()


def drawn(tmp_path: Path, *texts: str) -> list[list[str]]:
    figure = new_figure(2, 1)
    found = [figure.text(0.1, 0.2 + 0.3 * place, text) for place, text in enumerate(texts)]
    save(figure, tmp_path / "figure.png")
    return [text.get_fontfamily() for text in found]


def test_latin_and_greek_need_no_other_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_files", lambda: pytest.fail("the fonts of the system were searched"))
    assert drawn(tmp_path, "façade", "αβγ → ×") == [["sans-serif"], ["sans-serif"]]


def test_a_font_of_the_system_that_has_the_letters_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"/own.ttf": "abc", "/half.ttf": "猫", "/none.ttf": "x", "/whole.ttf": "猫犬"}
    monkeypatch.setattr(font_manager, "findfont", lambda name: "/own.ttf")
    monkeypatch.setattr(fonts, "_letters", lambda file: frozenset(names[file]))
    monkeypatch.setattr(fonts, "_files", lambda: ["/none.ttf", "/half.ttf", "/whole.ttf"])
    monkeypatch.setattr(font_manager.fontManager, "addfont", lambda file: None)
    monkeypatch.setattr(font_manager.FontProperties, "get_name", lambda self: self.get_file())
    assert fonts._families(frozenset("猫")) == (["/half.ttf"], frozenset())
    assert fonts._families(frozenset("猫犬")) == (["/half.ttf", "/whole.ttf"], frozenset())
    assert fonts._families(frozenset("猫鳥")) == (["/half.ttf"], frozenset("鳥"))


def test_letters_that_no_font_has_are_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_files", lambda: [])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            assert drawn(tmp_path, "cat 猫") == [["DejaVu Sans"]]
    assert len(said) == 1 and "no font has the letters 猫" in str(said[0].message) and "fonts-noto-cjk" in str(said[0])


def test_the_fonts_that_look_alike_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: ["/a-mono.ttf", "/b.ttf", "/a-bold-serif.ttf"])
    assert fonts._files.__wrapped__() == ["/b.ttf", "/a-mono.ttf", "/a-bold-serif.ttf"]
