"""Names in any script: fonts of the machine for the letters that the usual font lacks."""

from functools import cache

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text


def find_letters(figure: Figure) -> None:
    """Give each text of `figure` the fonts that its letters need beside its own.

    Letters that no font of the machine has are left as they are.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        usual = text.get_fontproperties()
        missing = {letter for letter in text.get_text() if letter.isprintable() and letter > "~"}
        if missing:
            missing = {letter for letter in missing if ord(letter) not in _letters_of(usual)}
        if missing:
            text.set_fontfamily([*usual.get_family(), *families_with(frozenset(missing))])


def families_with(letters: frozenset[str]) -> list[str]:
    """Few font families that have these letters between them, as far as there are any."""
    own = matplotlib.get_data_path()  # symbols, and a font of empty boxes
    there = {font.name: font.fname for font in fontManager.ttflist if own not in font.fname}
    left = {ord(letter) for letter in letters}
    found: list[str] = []
    while left and there:
        has = {name: len(left & _letters_in(path)) for name, path in there.items()}
        # As plain as the usual font, if there is a choice.
        best = max(sorted(has), key=lambda name: (has[name], "Sans" in name))
        if not has[best]:
            break
        found.append(best)
        left -= _letters_in(there.pop(best))
    return found


def _letters_of(font: FontProperties) -> frozenset[int]:
    return _letters_in(findfont(font))


@cache
def _letters_in(path: str) -> frozenset[int]:
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):  # removed since, or of a kind that is not read
        return frozenset()
