"""A fixed number of steps stops at that number."""

import json
import math

import pytest

from noiseprobe.core.errors import UserError
from noiseprobe.stopping import FixedSteps, LossCriterion, Outcome, outcome


def test_stops_at_the_given_step_whatever_the_losses() -> None:
    criterion: LossCriterion = FixedSteps(3)
    assert [criterion.update(loss) for loss in (1.0, math.nan, 5.0, 0.0)] == [
        False,
        False,
        True,
        True,
    ]


def test_a_step_that_is_told_counts_instead_of_the_number_of_losses() -> None:
    steps = [0, 100, 200, 301, 400]
    criterion = FixedSteps(300)
    assert [criterion.update(1.0, step) for step in steps] == [False, False, False, True, True]
    found = outcome(FixedSteps(300), [1.0] * 5, steps)
    assert (found.stop_index, found.could_fire) == (3, True)
    assert outcome(FixedSteps(401), [1.0] * 5, steps) == Outcome(None, 4, could_fire=False)


def test_goes_on_from_a_saved_state() -> None:
    before, after = FixedSteps(3), FixedSteps(3)
    before.update(1.0)
    before.update(1.0)
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert after.update(1.0)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_no_steps_at_all_are_refused(steps: int) -> None:
    with pytest.raises(UserError, match=f"steps {steps}: give a whole number of steps"):
        FixedSteps(steps)
