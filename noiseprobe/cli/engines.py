"""Which processes do the jobs of a command: those of this machine, or of a cluster."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noiseprobe.core.errors import UserError

if TYPE_CHECKING:
    from noiseprobe.stages.sharing import Sharing
    from noiseprobe.stages.workers import Engine

EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="local|ray",
        help="Processes of this machine (local), or a cluster (docs/cluster.md).",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="HOST:PORT of the Ray cluster, or auto for that of this machine "
        "(default: RAY_ADDRESS, or a Ray that is started for it).",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Processes that share the checkpoints (default: 1; with ray as many as fit).",
        show_default=False,
    ),
]


def check_engine(name: str, address: str | None) -> None:
    """Raise `UserError` for an engine that there is not, or an address that it has no use for."""
    if name not in ("local", "ray"):
        raise UserError(f"--engine: '{name}' given; choose local or ray")
    if address is not None and name != "ray":
        raise UserError("--address: it belongs to --engine ray; add that, or leave it out")


@contextmanager
def engine_of(
    name: str, address: str | None, resources: Mapping[str, Any] | None = None
) -> "Iterator[Engine]":
    """What does jobs: processes of this machine, or a cluster, each with its `resources`."""
    check_engine(name, address)
    if name == "local":
        from noiseprobe.stages.workers import in_processes

        yield in_processes
        return
    from noiseprobe.stages.on_ray import Resources, ray_engine

    with ray_engine(address, Resources(**(resources or {}))) as engine:
        yield engine


@contextmanager
def sharing_of(name: str, address: str | None, workers: int | None) -> "Iterator[Sharing | None]":
    """How checkpoints are shared among processes; None where this one does all of them.

    On this machine, the processes have its cores in equal parts; on a cluster each has one.
    """
    check_engine(name, address)
    if name == "local" and (workers or 1) == 1:
        yield None
        return
    from noiseprobe.stages.sharing import Sharing

    threads = max((os.cpu_count() or 1) // (workers or 1), 1) if name == "local" else 1
    with engine_of(name, address) as engine:
        yield Sharing(engine, workers, threads)
