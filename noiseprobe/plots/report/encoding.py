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


def as_address(picture: Image.Image, side: int = SIDE) -> str:
    """The picture as a `data:` address: WebP, without what its file told beside the pixels."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    small.save(written, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"


def spread(steps: Sequence[int], most: int, always: Sequence[int] = ()) -> list[int]:
    """At most `most` of ascending `steps`, evenly spaced by place: the first and the last.

    Those of `always` that are among them replace the nearest other one.

    Example:
        >>> spread([0, 10, 20, 30, 40, 50], 3)
        [0, 20, 50]
        >>> spread([0, 10, 20, 30, 40, 50], 3, always=[30])
        [0, 30, 50]
    """
    if len(steps) <= most:
        return list(steps)
    if most < 2:
        return list(steps[-1:])[:most]
    places = {round(index * (len(steps) - 1) / (most - 1)) for index in range(most)}
    ends = {0, len(steps) - 1}
    kept = set(ends)
    for step in always:
        if step not in steps or (place := steps.index(step)) in places:
            kept |= {steps.index(step)} if step in steps else set()
            continue
        free = sorted(places - kept, key=lambda other: abs(other - place))
        if free:
            places = (places - {free[0]}) | {place}
            kept.add(place)
    return [steps[place] for place in sorted(places)]
