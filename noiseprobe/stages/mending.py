"""A damaged run directory made such that going on makes again what was lost."""

from noiseprobe.core import manifest
from noiseprobe.core.files import keep_as, remove
from noiseprobe.core.words import command
from noiseprobe.run.directory import Run
from noiseprobe.run.resolving import read_toml
from noiseprobe.run.settings import RunConfig
from noiseprobe.run.traces import drop_after
from noiseprobe.run.verifying import Finding, findings, step_of

_AGAIN = {
    "probe": ("probe",),
    "held-out": ("probe", "--held-out"),
    "sobol": ("probe", "--design", "sobol"),
    "metrics": ("measure",),
}
"""By trace, the command that makes its parts again."""


def mend(run: Run) -> list[str]:
    """Remove what is damaged, so that what can be made again will be; a line for each thing done.

    Draws depend on nothing but the seed, so that what is made again is what it was, on the same
    device. What cannot be mended stays, and `findings` goes on to tell it.
    """
    with run.held():
        found = [each for each in findings(run) if each.wrong]
        done: list[str] = []
        for inner in (*run.cross_runs(), Run(run.refit_directory)):
            own = [each for each in found if each.path.is_relative_to(inner.directory)]
            found = [each for each in found if each not in own]
            done += mend(inner) if own else []
        done += _adopt(run)
        if run.tracker_file.is_file():
            return done  # what is lost of it, no command of ours makes again
        status = [each for each in found if each.path == run.directory / "status.json"]
        found = [each for each in found if each not in status]
        for each in status:  # first, for to go back is to write it anew
            done += _remove(run, each)
        lost = [each for each in found if each.step is not None]
        if lost and run.foreign is None:
            done += _go_back(run, lost)
        for each in found:
            done += _remove(run, each)
    return done


def _go_back(run: Run, lost: list[Finding]) -> list[str]:
    """Let the training go on from the newest state before what was lost."""
    from noiseprobe.training.states import read_state

    first = min(each.step for each in lost if each.step is not None)
    kept = None
    for file in (run.state_file, run.state_before_file):
        state, _ = read_state(file) if file.is_file() else (None, "")
        if kept is None and state is not None and state["step"] < first:
            kept = int(state["step"])
            if file != run.state_file:
                keep_as(file, run.state_file)
                remove(file)
        elif file.is_file():
            remove(file)
    last = -1 if kept is None else kept
    for directory in (run.train_directory, run.tracked_directory):
        drop_after(directory, last)
    run.write_status("training", max(last, 0), None)
    again = command("noiseprobe", "train", "--out", run.directory, "--resume")
    from_where = "from the start" if kept is None else f"from step {kept}"
    return [f"{run.directory}: training goes on {from_where}: {again}"]


def _remove(run: Run, found: Finding) -> list[str]:
    """Remove one damaged thing that is made again, and say by what."""
    name = found.path.relative_to(run.directory)
    room = name.parts[0]
    kind = name.parts[1] if room == "traces" and len(name.parts) > 2 else ""
    if room == "checkpoints":
        place = run.directory / name.parts[0] / name.parts[1]
    elif name.name in ("config.toml", "environment.json") or not name.suffix:
        return []
    else:
        place = found.path
    if not place.exists() and manifest.known_entry(found.path) is None:
        return []  # it went with something else
    remove(place)
    if kind in _AGAIN:
        verb, *flags = _AGAIN[kind]
        again = f"made again by {command('noiseprobe', verb, run.directory, *flags)}"
    elif step_of(name) is not None:
        again = "made again by the training"
    elif room == "status.json":
        run.write_status("training", 0, None)
        again = "written anew"
    else:
        again = f"made again by {command('noiseprobe', 'run', '--out', run.directory, '--resume')}"
    return [f"{place}: removed; {again}"]


def _adopt(run: Run) -> list[str]:
    """Take files as they are now where there was no list, and settings that a person changed."""
    directory, file = run.directory, run.directory / "config.toml"
    if not (directory / manifest.NAME).is_file():
        manifest.begin(directory)
        for place in manifest.files_in(directory):
            if place.name != manifest.NAME and not place.name.startswith("."):
                manifest.record(place, place)
        return [f"{directory}: its files are taken to be whole as they are now"]
    if not file.is_file() or not list(manifest.wrong_in(file)):
        return []
    try:
        content = read_toml(file)
        fields = RunConfig.model_fields.items()
        needed = {key for key, about in fields if about.default is not None}  # None is not written
        RunConfig.model_validate(content)
    except ValueError:  # a UserError is one
        return []
    if needed - content.keys():
        return []
    manifest.record(file, file)
    return [f"{file}: taken as it is now"]
