"""Letters that matplotlib's own font has not, as of Chinese class names: taken from a font of the system."""

import functools
import unicodedata
import warnings
from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

OWN = "DejaVu Sans"
UNLIKE = ("mono", "serif", "bold", "italic", "oblique", "light", "condensed", "black", "thin")  # looks of other fonts
INSTALL = "install one that has them, as apt-get install fonts-noto-cjk"
_said: set[str] = set()


def cover(figure: Figure) -> None:
    """Gives the texts of `figure` fonts that have all their letters, as far as some font of the system does.

    Letters that none has stay empty boxes, which is said once.
    """
    for text in figure.findobj(Text):
        letters = frozenset(filter(_is_drawn, text.get_text()))
        missing = letters - _letters(font_manager.findfont(OWN)) if letters else letters
        if missing:
            families, without = _families(missing)
            text.set_fontfamily([OWN, *families])
            if without - _said:
                _said.update(without)
                named = "".join(sorted(without)[:8])
                warnings.warn(f"no font has the letters {named}: in figures they are boxes; {INSTALL}", stacklevel=3)


def _is_drawn(letter: str) -> bool:
    return ord(letter) > 0x24F and unicodedata.category(letter)[0] not in "CZ"  # Latin letters are in every font


@functools.cache
def _letters(file: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, font_manager.get_font(file).get_charmap()))
    except (OSError, RuntimeError):  # no font that matplotlib reads
        return frozenset()


@functools.cache
def _families(missing: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Names of fonts that have the letters together, the fewest that are found in order; and what none of them has."""
    families = []
    for file in _files():
        if missing & _letters(file):
            font_manager.fontManager.addfont(file)  # it knows those that were there when it was first used
            families.append(font_manager.FontProperties(fname=file).get_name())
            missing -= _letters(file)
        if not missing:
            break
    return families, missing


@functools.cache
def _files() -> list[str]:
    """The font files of the system, those that look like `OWN` first."""
    files = font_manager.findSystemFonts()
    return sorted(files, key=lambda file: (sum(word in Path(file).name.lower() for word in UNLIKE), file))
