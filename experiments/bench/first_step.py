"""A training on the bundled model that ends with its first step: python -m … DEVICE FOLDER.

What the command imports is imported, and nothing is measured here: whoever started it does.
"""

import os
import sys
from collections.abc import Mapping
from typing import Any

import noiseprobe.cli.app
import noiseprobe.cli.training  # noqa: F401
from noiseprobe.run.defaults import DEFAULT_CONCEPT
from noiseprobe.run.resolving import resolve


def main(device: str, folder: str) -> None:
    """Train one step in a new folder, and end there and then."""
    config = resolve({"concept": DEFAULT_CONCEPT, "device": device, "stop": "none"})
    from noiseprobe.stages.pipeline import start
    from noiseprobe.training.driver import train
    from noiseprobe.training.observing import Nobody

    class Ends(Nobody):
        """Ends the process with the first step."""

        def row(self, row: Mapping[str, Any]) -> None:
            """Step 0 is what is recorded before training."""
            if row["step"] == 1:
                os._exit(0)

    run, ready = start(config, folder)
    train(run, ready.objective, ready.method, config, observer=Ends())


if __name__ == "__main__":
    main(*sys.argv[1:])
