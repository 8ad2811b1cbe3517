"""What every page of ours is made with: one HTML file that asks nothing and runs only its own."""

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_ENDS_SCRIPTS = "<>&\u2028\u2029"


def template(package: str, name: str) -> "Template":
    """The template `page/NAME` of a package; what is put into it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def ours(text: str) -> "Markup":
    """What stands in the page as it is: files of the package, and data that `in_script` escaped."""
    from markupsafe import Markup

    return Markup(text)  # nosec B704: see above


def in_script(document: Any) -> str:
    """A document as JSON that may stand in a `<script>`: nothing in it ends or comments that."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in _ENDS_SCRIPTS:
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def policy(*scripts: str) -> str:
    """What the page may do: run these scripts, show pictures that it holds, style itself."""
    known = " ".join(f"'sha256-{_checksum(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {known}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _checksum(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
