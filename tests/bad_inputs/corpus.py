"""All cases, by kind."""

from tests.bad_inputs import folders, images, logs
from tests.bad_inputs.cases import Case

KINDS = (images, folders, logs)


def corpus() -> list[Case]:
    """Every case, each with a name of its own."""
    return [case for kind in KINDS for case in kind.cases()]
