"""What a person sees of a run: lines, or bars on a terminal, when it will be done, and that it will take too long."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from untrue import progress
from untrue.progress import Plan, TerminalWatcher, about


class Clock:
    """A clock that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 1000.0
        monkeypatch.setattr("untrue.progress.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def watched(terminal: bool) -> tuple[TerminalWatcher, StringIO]:
    file = StringIO()
    return TerminalWatcher(Console(file=file, force_terminal=terminal, width=160)), file


def percentages(watcher: TerminalWatcher) -> dict[str, float]:
    return {task.description: task.percentage for task in watcher._bars.tasks}


TWO_CELLS = Plan({("a", "training"): 70, ("a", "forced_choice"): 30, ("b", "training"): 70, ("b", "forced_choice"): 30})


def test_without_a_terminal_each_stage_is_a_line():
    watcher, file = watched(terminal=False)
    with watcher:
        watcher.begin(TWO_CELLS)
        watcher.stage("a", "training")
        watcher.step(1, 2, "loss 2.000")
        watcher.stage("a", "forced_choice")
    assert file.getvalue() == "a: training …\na: forced_choice …\n"


def test_without_a_terminal_a_long_stage_says_once_a_minute_how_far_it_is(clock: Clock):
    watcher, file = watched(terminal=False)
    with watcher:
        watcher.stage("tiny", "training")
        for done in range(1000, 1021):  # it resumes; a step takes 10 s
            clock.now += 10
            watcher.step(done, 1060, "loss 2.000")
        watcher.stage("tiny", "mask")
        clock.now += 61
        watcher.step(7, 8, "")
        clock.now += 61
        watcher.step(8, 8, "")
    assert file.getvalue().splitlines() == [
        "tiny: training …",
        "tiny: training: 1,001 of 1,060, about 10 min left, loss 2.000",
        "tiny: training: 1,007 of 1,060, about 9 min left, loss 2.000",
        "tiny: training: 1,013 of 1,060, about 8 min left, loss 2.000",
        "tiny: training: 1,019 of 1,060, about 7 min left, loss 2.000",
        "tiny: mask …",
        "tiny: mask: 7 of 8",
        "tiny: mask: 8 of 8, less than 1 min left",
    ]


def test_on_a_terminal_no_line_is_said_beside_the_bars(clock: Clock):
    watcher, file = watched(terminal=True)
    with watcher:
        watcher.stage("tiny", "training")
        clock.now += 61
        watcher.step(1, 8, "")
    assert "1 of 8" not in file.getvalue()


def test_text_is_shown_as_it_is_and_not_as_markup():
    watcher, file = watched(terminal=False)
    watcher.say("[bold]seeds[/bold] [0, 1]")
    assert file.getvalue() == "[bold]seeds[/bold] [0, 1]\n"


def test_the_bar_of_all_moves_by_the_seconds_that_each_stage_should_take():
    watcher, _ = watched(terminal=True)
    with watcher:
        watcher.begin(TWO_CELLS)
        watcher.stage("a", "training")
        watcher.step(1, 2, "loss 2.000")
        assert percentages(watcher) == {"all": pytest.approx(17.5), "a: training": 50}
        watcher.stage("a", "forced_choice")
        assert percentages(watcher) == {"all": pytest.approx(35), "a: forced_choice": 0}
        watcher.step(10, 10, "")
        watcher.stage("b", "training 1 of 2", 1 / 2)
        assert percentages(watcher)["all"] == pytest.approx(50)
        watcher.step(2, 2, "loss 1.000")
        assert percentages(watcher)["all"] == pytest.approx(67.5)
        watcher.stage("b", "training 2 of 2", 1)
        watcher.stage("b", "forced_choice")
        watcher.step(10, 10, "")
        assert percentages(watcher) == {"all": pytest.approx(100), "b: forced_choice": 100}


def test_what_the_plan_has_before_a_stage_is_over_though_it_never_began():
    watcher, _ = watched(terminal=True)
    with watcher:
        watcher.begin(TWO_CELLS)
        watcher.stage("b", "training")  # there were logs of the first
        assert percentages(watcher)["all"] == pytest.approx(50)


def test_on_a_terminal_the_bars_show_the_stage_its_note_and_the_time_left(clock: Clock):
    watcher, file = watched(terminal=True)
    with watcher:
        watcher.begin(TWO_CELLS)
        watcher.stage("a", "training")
        watcher.step(0, 2, "")
        clock.now += 350
        watcher.step(1, 2, "loss 2.345")
    shown = file.getvalue()
    for text in ("all", "a: training", "50%", "about 28 min left in all", "loss 2.345"):
        assert text in shown


def test_a_stage_alone_needs_no_plan():
    watcher, _ = watched(terminal=True)
    with watcher:
        watcher.stage("adapter", "training")
        watcher.step(1, 4, "")
    assert percentages(watcher) == {"adapter: training": 25}


def test_each_kind_of_stage_goes_on_at_its_own_speed_and_one_that_has_not_begun_as_all(clock: Clock):
    watcher, file = watched(terminal=False)
    with watcher:
        watcher.begin(TWO_CELLS)
        for cell, training, asking in (("a", 5, 20), ("b", 5, 20)):  # times as long as planned
            watcher.stage(cell, "training")
            for step in range(8):
                watcher.step(step, 7, "")
                clock.now += 10 * training
            watcher.stage(cell, "forced_choice")
            for item in range(4):
                watcher.step(item, 3, "")
                clock.now += 10 * asking
    assert file.getvalue().splitlines() == [
        "a: training …",
        "a: training: 1 of 7, about 16 min left in all",  # 950 s, all as training
        "a: training: 3 of 7, about 14 min left in all",
        "a: training: 5 of 7, about 12 min left in all",
        "a: training: 7 of 7, about 11 min left in all",
        "a: forced_choice … about 12 min left in all",  # with what a training took after its last step
        "a: forced_choice: 1 of 3, about 23 min left in all",
        "a: forced_choice: 2 of 3, about 20 min left in all",
        "a: forced_choice: 3 of 3, about 17 min left in all",
        "b: training … about 19 min left in all",
        "b: training: 2 of 7, about 18 min left in all",
        "b: training: 4 of 7, about 16 min left in all",
        "b: training: 6 of 7, about 14 min left in all",
        "b: forced_choice … about 10 min left in all",
        "b: forced_choice: 1 of 3, about 7 min left in all",
        "b: forced_choice: 2 of 3, about 3 min left in all",
        "b: forced_choice: 3 of 3, less than 1 min left in all",
    ]


def warnings(clock: Clock, plan: Plan, times: float, what: str = "training") -> list[str]:
    """What is warned of where everything takes so many times as long as planned."""
    watcher, file = watched(terminal=False)
    with watcher:
        watcher.begin(plan)
        watcher.stage("a", what)
        for step in range(11):
            watcher.step(step, 10, "")
            clock.now += plan.seconds["a", what] / 10 * times
    return [line for line in file.getvalue().splitlines() if line.startswith("Warning")]


ORDINARY = Plan(TWO_CELLS.seconds, "two ordinary cores", frozenset({"mask"}))


def test_a_machine_that_takes_ten_times_as_long_is_called_slow_once(clock: Clock):
    [said] = warnings(clock, ORDINARY, 30)
    assert said.startswith("Warning: this takes 30 times as long as on two ordinary cores, about 96 min left in all. ")
    assert "GFLOP/s in float32 with" in said


@pytest.mark.parametrize(
    ("plan", "times", "what"),
    [
        (ORDINARY, 8, "training"),
        (Plan({("a", "training"): 2.0}, "two ordinary cores"), 30, "training"),  # a minute is not long
        (TWO_CELLS, 30, "training"),  # nobody knows how long it should take
        (Plan({("a", "mask"): 100.0}, ORDINARY.machine, ORDINARY.elsewhere), 30, "mask"),  # the judge may be slow
    ],
)
def test_another_is_not(clock: Clock, plan: Plan, times: float, what: str):
    assert warnings(clock, plan, times, what) == []


def test_reasons_are_what_the_machine_tells(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (4.1, 0, 0))
    monkeypatch.setattr("untrue.progress._allowed_cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert progress.reasons().partition(";")[2] == " two ordinary cores compute 150."
    monkeypatch.setattr("os.getloadavg", lambda: (7.0, 0, 0))
    monkeypatch.setattr("untrue.progress._allowed_cores", lambda: 1.5)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert progress.reasons().partition("150. ")[2] == (
        "7.0 threads compete for 4 cores: close other programs. OMP_NUM_THREADS=2 leaves 2 cores idle: unset it."
        " A container, scheduler or taskset allows it 1.5 of 4 cores: allow it more."
    )


def test_times_are_said_as_people_say_them():
    said = [about(seconds) for seconds in (59, 60, 89, 7000, 7300, 40_000, 200_000)]
    assert said == [
        "less than 1 min",
        "about 1 min",
        "about 1 min",
        "about 117 min",
        "about 2.0 h",
        "about 11 h",
        "about 2 days",
    ]
