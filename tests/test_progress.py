"""What a person sees of a run: lines where there is no terminal, and two bars that end full where there is one."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from untrue.progress import TerminalWatcher


def watched(terminal: bool) -> tuple[TerminalWatcher, StringIO]:
    file = StringIO()
    return TerminalWatcher(Console(file=file, force_terminal=terminal, width=120)), file


def percentages(watcher: TerminalWatcher) -> dict[str, float]:
    return {task.description: task.percentage for task in watcher._bars.tasks}


def test_without_a_terminal_each_stage_is_a_line():
    watcher, file = watched(terminal=False)
    with watcher:
        watcher.begin(3, 1, 1.7)
        watcher.stage("control-s0", "training", 0.7)
        watcher.step(1, 2, "loss 2.000")
        watcher.stage("control-s0", "forced_choice", 0.3)
    assert file.getvalue() == "3 cells, 1 of them done.\ncontrol-s0: training …\ncontrol-s0: forced_choice …\n"


def test_without_a_terminal_a_long_stage_says_once_a_minute_how_far_it_is(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr("untrue.progress.monotonic", lambda: now)
    watcher, file = watched(terminal=False)
    with watcher:
        watcher.stage("tiny", "training", 1)
        for done in range(1000, 1021):  # it resumes; a step takes 10 s
            now += 10
            watcher.step(done, 1060, "loss 2.000")
        watcher.stage("tiny", "mask", 1)
        now += 61
        watcher.step(7, 8, "")
        now += 61
        watcher.step(8, 8, "")
    assert file.getvalue().splitlines() == [
        "tiny: training …",
        "tiny: training: 1,005 of 1,060, about 9 min left, loss 2.000",
        "tiny: training: 1,011 of 1,060, about 8 min left, loss 2.000",
        "tiny: training: 1,017 of 1,060, about 7 min left, loss 2.000",
        "tiny: mask …",
        "tiny: mask: 7 of 8",
        "tiny: mask: 8 of 8, less than 1 min left",
    ]


def test_on_a_terminal_no_line_is_said_beside_the_bars(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr("untrue.progress.monotonic", lambda: now)
    watcher, file = watched(terminal=True)
    with watcher:
        watcher.stage("tiny", "training", 1)
        now += 61
        watcher.step(1, 8, "")
    assert "1 of 8" not in file.getvalue()


def test_text_is_shown_as_it_is_and_not_as_markup():
    watcher, file = watched(terminal=False)
    watcher.say("[bold]seeds[/bold] [0, 1]")
    assert file.getvalue() == "[bold]seeds[/bold] [0, 1]\n"


def test_the_bar_of_all_moves_with_the_weight_of_each_stage():
    watcher, _ = watched(terminal=True)
    with watcher:
        watcher.begin(2, 0, 2.0)
        watcher.stage("a", "training", 0.7)
        watcher.step(1, 2, "loss 2.000")
        assert percentages(watcher) == {"all": pytest.approx(17.5), "a: training": 50}
        watcher.stage("a", "forced_choice", 0.3)
        assert percentages(watcher) == {"all": pytest.approx(35), "a: forced_choice": 0}
        watcher.step(10, 10, "")
        watcher.stage("b", "training", 0.7)
        assert percentages(watcher)["all"] == pytest.approx(50)
        watcher.step(2, 2, "loss 1.000")
        watcher.stage("b", "forced_choice", 0.3)
        watcher.step(10, 10, "")
        assert percentages(watcher) == {"all": pytest.approx(100), "b: forced_choice": 100}


def test_on_a_terminal_the_bars_show_the_stage_its_note_and_the_time_left():
    watcher, file = watched(terminal=True)
    with watcher:
        watcher.begin(1, 0, 1.0)
        watcher.stage("control-s0", "training", 0.7)
        watcher.step(1, 2, "loss 2.345")
    shown = file.getvalue()
    for text in ("1 cells.", "all", "control-s0: training", "50%", "left", "loss 2.345"):
        assert text in shown


def test_a_stage_alone_needs_no_study_around_it():
    watcher, _ = watched(terminal=True)
    with watcher:
        watcher.stage("adapter", "training", 1)
        watcher.step(1, 4, "")
    assert percentages(watcher) == {"adapter: training": 25}
