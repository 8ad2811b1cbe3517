"""What the name of a recorded quantity says: its words, without the run that it is of."""

import re


def metric_of(name: str) -> str:
    """The name without that of the run that Weights & Biases writes before it."""
    return name.rpartition(" - ")[2]


def words_of(name: str) -> set[str]:
    """The words of the metric, in small letters.

    Example:
        >>> sorted(words_of("run - train/valLoss"))
        ['loss', 'train', 'val']
    """
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", metric_of(name))
    return set(re.findall(r"[a-z]+", split.lower()))
