"""Pictures as a page holds them: small, few enough, and whole in the address."""

import base64
import io
from collections.abc import Sequence

from PIL import Image

SIDE = 256
"""Pixels of the longer side of a picture, at most."""

QUALITY = 80
"""Of WebP: artefacts are not seen at the size at which pictures are shown."""

MOST_BYTES = 4_500_000
"""Of all pictures of a page together: with 1 MB of code and its curves, it stays below 8 MB."""


def as_address(picture: Image.Image, side: int = SIDE, quality: int = QUALITY) -> str:
    """The picture as a `data:` address: WebP, without what its file told beside the pixels."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    small.save(written, "WEBP", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"


def spread(steps: Sequence[int], most: int, wanted: int | None = None) -> list[int]:
    """At most `most`, two or more, of ascending `steps`, evenly by place, with the first and last.

    Where `wanted` is among `steps`, it takes the place of the nearest one between those two.

    Examples:
        >>> spread([0, 10, 20, 30, 40, 50], 3)
        [0, 20, 50]
        >>> spread([0, 10, 20, 30, 40, 50], 3, wanted=30)
        [0, 30, 50]
    """
    if len(steps) <= most:
        return list(steps)
    last = len(steps) - 1
    places = {round(index * last / (most - 1)) for index in range(most)}
    between = places - {0, last}
    if between and wanted in steps:
        place = steps.index(wanted)
        if place not in places:
            places.remove(min(between, key=lambda other: abs(other - place)))
            places.add(place)
    return [steps[place] for place in sorted(places)]
