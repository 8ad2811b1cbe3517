"""Measurements in processes of their own, which begin alike: with the libraries, and nothing else.

They are copies of one process that has imported them and computed nothing, so that memory of one
measurement is not that of another, and none waits for imports.
"""

import ctypes
import gc
import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

MMAP_THRESHOLD = -3
"""The name of that setting in malloc.h."""

Given = ParamSpec("Given")
Told = TypeVar("Told")

PRELOADED = [
    "experiments.bench.parts.growth",
    "experiments.bench.parts.memory",
    "noiseprobe.cli.over_runs",
    "noiseprobe.cli.recorded",
    "noiseprobe.stages.pipeline",
    "noiseprobe.training.driver",
    "peft",
]
"""What is imported once for all."""


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def in_a_child(function: Callable[Given, Told], *args: Given.args, **named: Given.kwargs) -> Told:
    """What a function gives in a new process; raises what it raises there."""
    with ProcessPoolExecutor(1, mp_context=_context()) as pool:
        return pool.submit(function, *args, **named).result()


def return_at_once() -> None:
    """Let glibc give back each block of more than 64 KB when it is let go of, rather than keep it.

    So memory of this process is what is in use.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(MMAP_THRESHOLD, 65536)


def settle_memory() -> int:
    """Give back what nothing uses, begin to look for a new peak; the bytes that are there now."""
    gc.collect()
    with suppress(OSError, AttributeError):  # of other libraries than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _of_status("VmRSS")


def peak_memory() -> int:
    """The most bytes that were there since `settle_memory`; where that is unknown, since ever."""
    return _of_status("VmHWM")


def _of_status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    except (OSError, StopIteration):
        largest: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(largest) * (1 if sys.platform == "darwin" else 1024)
