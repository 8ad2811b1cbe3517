"""How a setting is declared: what a person is told of it, and where it counts."""

from dataclasses import dataclass, fields
from typing import Any

from pydantic import Field

TRAINED, PRIOR, STOPPING = "What is trained", "Prior preservation", "When to stop"
HELD_OUT = "Held-out photographs"
FOREIGN = "Checkpoints of another trainer"
PICTURES, PROBE, MACHINE = "CLIP similarity of pictures", "Probe", "Machine and files"


@dataclass(frozen=True)
class About:
    """What a person is told of a setting, and where it counts.

    Attributes:
        help: what it is, without its default.
        group: the heading under which it is shown.
        flag: the flag, where it is not the name with dashes.
        metavar: what stands for the value in the help, where the type does not say it.
        usual: the default in words, where no number says it.
        commands: the commands that take it.
        methods, criteria: those that it belongs to; with others it is refused. Empty: all.
        on_resume: whether it may differ when a run goes on: it changes neither a step nor a draw.
        common: whether `--help` shows it; `--help-all` shows every setting.
    """

    help: str
    group: str
    flag: str = ""
    metavar: str | None = None
    usual: str = ""
    commands: tuple[str, ...] = ("run", "train")
    methods: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    on_resume: bool = False
    common: bool = False

    @property
    def panel(self) -> str:
        """The heading with the methods or the criterion that the setting belongs to."""
        if self.criteria:
            return f"With --stop {self.criteria[0]}"
        return f"With --method {' or '.join(self.methods)}" if self.methods else self.group


def setting(group: str, help: str, default: Any = ..., **more: Any) -> Any:
    """A field of `RunConfig`: of `more`, what `About` has goes there, and bounds to pydantic."""
    own = {each.name: more.pop(each.name) for each in fields(About) if each.name in more}
    extra: Any = {"about": About(help, group, **own)}
    return Field(default, json_schema_extra=extra, **more)
