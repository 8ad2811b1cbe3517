"""The command line in processes that need no second to start, so that many can be killed.

python -m tests.commands
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from noiseprobe.cli.ends import QUIET_LIBRARIES


class Commands:
    """Starts commands in copies of one process that has imported all that they need.

    Nothing is computed in that process, so that no thread of it is missing in the copies.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def start(self, argv: Sequence[str], log: Path, folder: Path) -> int:
        """Start `noiseprobe ARGV` in `folder`; it adds what it prints to `log`; its process id."""
        return int(self._asked({"argv": list(argv), "log": str(log), "folder": str(folder)}))

    def ended(self) -> int:
        """The exit code of the command that was started, once it has ended; −9 if it was killed."""
        return int(self._asked({}))

    def _asked(self, what: dict[str, object]) -> str:
        to, back = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        print(json.dumps(what), file=to, flush=True)
        return back.readline()


@contextlib.contextmanager
def commands() -> Iterator[Commands]:
    """Such a process, which ends with the block."""
    started = [sys.executable, "-m", "tests.commands"]
    environment = os.environ | QUIET_LIBRARIES | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(started, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield Commands(process)
        cast(IO[str], process.stdin).close()


def serve() -> None:
    """Do what is asked for on standard input, one JSON object per line."""
    import accelerate  # noqa: F401
    import diffusers  # noqa: F401
    import peft  # noqa: F401
    import transformers  # noqa: F401

    import noiseprobe.stages.pipeline  # noqa: F401
    from noiseprobe.cli.app import COMMANDS, whole

    for words in COMMANDS:
        whole(words)

    child = 0
    for line in sys.stdin:
        asked = json.loads(line)
        if asked:
            child = os.fork()
            if not child:
                _become(**asked)
            print(child, flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(argv: list[str], log: str, folder: str) -> None:
    from noiseprobe.cli.app import main

    os.chdir(folder)
    os.setsid()
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number, to in ((0, os.open(os.devnull, os.O_RDONLY)), (1, said), (2, said)):
        os.dup2(to, number)
    sys.argv = ["noiseprobe", *argv]
    try:
        main()
    except SystemExit as ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(ended.code or 0))


if __name__ == "__main__":
    serve()
