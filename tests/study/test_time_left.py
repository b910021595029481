"""The time left of a study of several cells, on machines whose speeds are nowhere near those that were planned with."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from untrue.progress import TerminalWatcher
from untrue.study.config import Study
from untrue.study.published import model_size
from untrue.study.run import run


class Simulated(TerminalWatcher):
    """A watcher on a machine that takes as long as it says, on a clock of its own.

    Attributes:
        now: The time on that clock.
        forecasts: When what was forecast.
    """

    def __init__(self, factors: dict[str, float], pause: float, monkeypatch: pytest.MonkeyPatch):
        """Take a machine by how many times as long as planned each kind of stage takes, and its pause before each.

        The tiny model counts as the embedded one, which should take minutes.
        """
        monkeypatch.setattr("untrue.study.estimate.model_size", lambda name: model_size("smollm2-135m"))
        self.file = StringIO()
        super().__init__(Console(file=self.file, width=300))
        self._factors, self._pause, self._key, self._share = factors, pause, ("", ""), 0.0
        self.now, self.forecasts = 0.0, list[tuple[float, float]]()
        monkeypatch.setattr("untrue.progress.monotonic", lambda: self.now)

    def stage(self, cell: str, what: str, part: float = 1) -> None:
        super().stage(cell, what, part)
        self._key, self._share = (cell, what), 0.0
        self.now += self._pause

    def step(self, done: int, total: int, note: str) -> None:
        planned = self._forecast.plan.seconds[self._key] * (done / total - self._share)
        self.now, self._share = self.now + planned * self._factors[self._key[1]], done / total
        super().step(done, total, note)
        if (left := self._forecast.seconds) is not None:
            self.forecasts.append((self.now, left))


@pytest.mark.parametrize(
    ("factors", "pause"),
    [
        ({"training": 10, "forced_choice": 10}, 5.0),
        ({"training": 40, "forced_choice": 30}, 10.0),  # nor is their ratio that of the plan
        ({"training": 30, "forced_choice": 40}, 10.0),
    ],
)
def test_after_the_first_steps_the_time_left_is_right_within_half(
    make_study: Callable[..., Study],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factors: dict[str, float],
    pause: float,
):
    study = make_study(seeds=[0, 1], mix__shares=[0.5, 1.0])
    with Simulated(factors, pause, monkeypatch) as watcher:
        run(study, tmp_path / "run", watcher, "untrue run")
    assert len(watcher.forecasts) > 7 * 5 + 6 * 8 - 2
    for now, left in watcher.forecasts:
        true = watcher.now - now
        assert true / 1.5 <= left <= true * 1.5 or abs(true - left) <= 2 * pause  # it is about to end
