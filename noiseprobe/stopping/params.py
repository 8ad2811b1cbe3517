"""A criterion's parameters as text: `patience=20`, `window=20%`."""

from collections.abc import Mapping

from noiseprobe.core.errors import UserError
from noiseprobe.stopping.window import parse_number, shown_window


def parse_param(pair: str) -> tuple[str, float]:
    """The name and the number of `name=value`; dashes in the name are underscores, 20% is 0.2.

    Raises:
        UserError: the text is something else.

    Examples:
        >>> parse_param("min-delta=0.01")
        ('min_delta', 0.01)
    """
    name, _, text = pair.partition("=")
    try:
        return name.strip().replace("-", "_"), parse_number(text)
    except ValueError:
        raise UserError(
            f"--param {pair}: give a name and a number, such as --param patience=20"
        ) from None


def shown_params(params: Mapping[str, float]) -> str:
    """The parameters in one word each, a window that is a share in per cent.

    Examples:
        >>> shown_params({"window": 0.2, "threshold": 0.15})
        'window=20% threshold=0.15'
    """
    return " ".join(
        f"{name}={shown_window(value) if name == 'window' else f'{value:.12g}'}"
        for name, value in params.items()
    )
