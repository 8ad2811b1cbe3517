"""All cases, by kind."""

from tests.bad_inputs import (
    checkpoints,
    configs,
    flags,
    folders,
    images,
    logs,
    models,
    names,
    tables,
)
from tests.bad_inputs.cases import Case

KINDS = (images, folders, logs, tables, configs, flags, checkpoints, models, names)


def corpus() -> list[Case]:
    """Every case, each with a name of its own."""
    return [case for kind in KINDS for case in kind.cases()]
