"""Words: what the name of a recorded quantity says, and text from outside as people may see it."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def metric_of(name: str) -> str:
    """The name without that of the run that Weights & Biases writes before it."""
    return name.rpartition(" - ")[2]


def words_of(name: str) -> set[str]:
    """The words of the metric, in small letters.

    Examples:
        >>> sorted(words_of("run - train/valLoss"))
        ['loss', 'train', 'val']
    """
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", metric_of(name))
    return set(re.findall(r"[a-z]+", split.lower()))


def visible(text: object, keep: str = "") -> str:
    r"""`text` with each letter that cannot be printed spelt, so that none reaches a terminal.

    Names of files, tags and captions come from others, and an escape in one could recolour the
    terminal, rename its window or overwrite lines. A byte of a file name that is no text is spelt
    as that byte.

    Args:
        text: what is shown, or what `str` makes of it.
        keep: letters that stay although they cannot be printed, such as a line's end.

    Examples:
        >>> print(visible("loss\x1b[31m"))
        loss\x1b[31m
    """
    return "".join(
        letter if letter.isprintable() or letter in keep else _spelt(letter) for letter in str(text)
    )


def in_spreadsheet(text: str) -> str:
    """`text` as a cell of a CSV file, which no spreadsheet takes for a formula.

    One that begins as a formula does gets an apostrophe before it, but for a number (OWASP, CSV
    injection).

    Examples:
        >>> in_spreadsheet("=1+1"), in_spreadsheet("-1e-3"), in_spreadsheet("loss")
        ("'=1+1", '-1e-3', 'loss')
    """
    if not text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def _spelt(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is no text (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(letter, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"


def command(*words: object) -> str:
    r"""A command as it may be pasted into a shell, one word per argument, in one visible line.

    Words with letters that cannot be printed are quoted as bash and zsh read them, $'\x1b'. A
    `Path` that begins as a flag does gets a ./ before it.

    Examples:
        >>> print(command("noiseprobe", "analyze", "my run"))
        noiseprobe analyze 'my run'
    """
    return " ".join(map(_word, words))


def _word(given: object) -> str:
    import shlex

    word = str(given)
    if isinstance(given, Path) and word.startswith("-"):
        word = f"./{word}"
    if word.isprintable():
        return shlex.quote(word)
    slashes = word.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{visible(slashes)}'"


def enumerated(words: Iterable[str], last: str = "and") -> str:
    """The words in a sentence: `a`, `a and b`, `a, b and c`."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end


def in_markdown(sentences: Sequence[str]) -> str:
    """Sentences as a list, the first in bold; nothing in them is markup."""
    plain = [re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", visible(each)) for each in sentences]
    return "\n".join(
        f"- **{each}**" if not place else f"- {each}" for place, each in enumerate(plain)
    )
