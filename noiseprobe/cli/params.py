"""Which criteria a command means, and with what parameters."""

from collections.abc import Mapping, Sequence

from noiseprobe.core.errors import UserError
from noiseprobe.stopping import ON_MEANS, build, completed, criterion_named
from noiseprobe.stopping.params import parse_param
from noiseprobe.stopping.window import parse_window

Params = dict[str, dict[str, float]]
"""The parameters that were given, by criterion and name."""


def chosen_criteria(given: Sequence[str] | None, every: bool) -> list[str]:
    """The names of the criteria that are meant: those given, all that may stop, or DVAR alone.

    Raises:
        UserError: a name is unknown, or both were asked for.
    """
    if given and every:
        raise UserError("--all: it means every criterion; leave out --criterion")
    for name in given or []:
        criterion_named(name)
    if every:
        return [name for name in ON_MEANS if name != "never"]
    return list(dict.fromkeys(given or ["dvar"]))


def parse_params(
    pairs: Sequence[str], criteria: Sequence[str], meant: Sequence[str] | None = None
) -> Params:
    """`name=value`, or `criterion.name=value` where more than one criterion may be meant.

    A pair that names no criterion is of the only one of those `meant`, by default of `criteria`.

    Raises:
        UserError: a pair is malformed, or names a criterion or parameter that is not there.

    Examples:
        >>> parse_params(["min-delta=0.01"], ["patience"])
        {'patience': {'min_delta': 0.01}}
    """
    plain = criteria if meant is None else meant
    params: Params = {}
    for pair in pairs:
        criterion, dot, name = pair.partition("=")[0].rpartition(".")
        if not dot and len(plain) != 1:
            owners = [each for each in plain if name.replace("-", "_") in completed(each)]
            raise UserError(
                f"--param {pair}: of which criterion? write {(owners or plain)[0]}.{pair}"
            )
        if dot and criterion not in criteria:
            raise UserError(f"--param {pair}: {criterion!r} is not one of {', '.join(criteria)}")
        chosen = params.setdefault(criterion or plain[0], {})
        name, value = parse_param(pair.removeprefix(criterion + dot))
        if name in chosen:
            raise UserError(f"--param {pair}: {name} is given twice; leave one of them out")
        chosen[name] = value
    for criterion, chosen in params.items():
        completed(criterion, chosen)
    return params


def dvar_params(
    params: Mapping[str, Mapping[str, float]],
    criteria: Sequence[str],
    window: str | None,
    threshold: float | None,
) -> Params:
    """DVAR's own flags as parameters, added to those it has in `params`.

    Raises:
        UserError: one was given, and DVAR is not among `criteria`.
    """
    flags = {"window": None if window is None else parse_window(window), "threshold": threshold}
    given = {name: value for name, value in flags.items() if value is not None}
    if given and "dvar" not in criteria:
        name, value = next(iter({**given, **({"window": window} if window else {})}.items()))
        raise UserError(
            f"--{name} {value}: it is DVAR's, which is not replayed; add --criterion dvar, or "
            f"leave out --{name}"
        )
    for name in given.keys() & params.get("dvar", {}).keys():
        raise UserError(f"--{name}: --param gives {name} as well; leave one of them out")
    try:
        build("dvar", given)
    except UserError as error:
        raise UserError(f"--{error}") from None
    return {"dvar": dict(params.get("dvar", {})) | given} if given else {}
