"""A criterion's parameters as text: `patience=20`."""

from noiseprobe.core.errors import UserError


def parse_param(pair: str) -> tuple[str, float]:
    """The name and the number of `name=value`; dashes in the name are underscores.

    Raises:
        UserError: the text is something else.

    Example:
        >>> parse_param("min-delta=0.01")
        ('min_delta', 0.01)
    """
    name, _, text = pair.partition("=")
    try:
        return name.strip().replace("-", "_"), float(text)
    except ValueError:
        raise UserError(
            f"--param {pair}: give a name and a number, such as --param patience=20"
        ) from None
