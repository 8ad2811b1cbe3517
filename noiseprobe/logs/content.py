"""The bytes of a file, or one line that says why there are none."""

from pathlib import Path

from noiseprobe.core.errors import UserError


def content_of(path: Path, most: int = -1) -> bytes:
    """The first `most` bytes of the file at `path`; all by default.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file or directory; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); check the file") from None
