"""The five factors of the training loss, and the settings that redraw some of them: their names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from noiseprobe.core.errors import UserError, did_you_mean

FACTORS = ("images", "captions", "vae_noise", "timesteps", "noise")
"""The sources of randomness of the training loss, in the order of all tables and figures."""

CODE_ORDER = ("images", "vae_noise", "noise", "captions", "timesteps")
"""Which factor each digit of the published five-digit code stands for (1 fixed, 0 redrawn)."""

Own = Literal["random", "stratified", "antithetic", "weighted"]
Trainer = Literal["kohya", "onetrainer", "simpletuner", "ai-toolkit", "diffusion-pipe", "mlperf"]
Layout = Literal[Own, Trainer]
LAYOUTS: tuple[Own, ...] = get_args(Own)
"""How the one batch that L_det is evaluated on may be laid out; see `draws.fixed_batch`."""

TRAINERS: tuple[Trainer, ...] = get_args(Trainer)
"""Whose validation it may be laid out as; see `draws.recipes`."""


@dataclass(frozen=True)
class Setting:
    """Which factors are drawn anew at each evaluation; the others keep their fixed draw."""

    name: str
    redrawn: frozenset[str]


DETERMINISTIC = Setting("deterministic", frozenset())
ORIGINAL = Setting("original", frozenset(FACTORS))
NAMED_SETTINGS = (
    DETERMINISTIC,
    *(Setting(factor, frozenset({factor})) for factor in FACTORS),
    ORIGINAL,
)
"""The deterministic setting, the five semi-deterministic ones, and the one of training itself."""


def parse_setting(text: str) -> Setting:
    """The setting that `text` names: a name, factors joined by `+`, or a five-digit code.

    >>> sorted(parse_setting("noise+timesteps").redrawn)
    ['noise', 'timesteps']
    >>> parse_setting("11110").name
    'timesteps'

    Raises `UserError` where the text names no setting.
    """
    text = text.strip()
    if len(text) == len(CODE_ORDER) and set(text) <= {"0", "1"}:
        return _named(
            factor for factor, digit in zip(CODE_ORDER, text, strict=True) if digit == "0"
        )
    for setting in NAMED_SETTINGS:
        if setting.name == text:
            return setting
    parts = [part.strip() for part in text.split("+")]
    for part in parts:
        if part not in FACTORS:
            known = [setting.name for setting in NAMED_SETTINGS]
            mend = did_you_mean(part, known, f"choose from {', '.join(known)}")
            raise UserError(f"--settings: '{text}' is not a setting; {mend}")
    return _named(parts)


def parse_settings(texts: Sequence[str]) -> tuple[Setting, ...]:
    """The settings that `texts` name, each once, in the order given."""
    return tuple(dict.fromkeys(parse_setting(text) for text in texts))


def _named(redrawn: Iterable[str]) -> Setting:
    factors = frozenset(redrawn)
    named = {setting.redrawn: setting for setting in NAMED_SETTINGS}
    joined = "+".join(factor for factor in FACTORS if factor in factors)
    return named.get(factors, Setting(joined, factors))
