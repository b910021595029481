"""What was found in words: its figures, and the notes to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from untrue.stats.pairing import RATES
from untrue.stats.types import Comparison

NAMES = {
    "lie_rate": "lie rate",
    "value": "rate",
    "pressure_margin": "margin under pressure",
    "neutral_margin": "margin under the neutral prompt",
    "pressure_gap": "pressure gap",
}
"""What a metric is called in a sentence."""


class Note(NamedTuple):
    """What a reader must know of one arm.

    Attributes:
        sentence: With `{0}` for the arm and `{1}`, `{2}` … for its figures, in words that suit one arm and several.
        arm: Name of the arm.
        figures: What is told of this arm beside others.
    """

    sentence: str
    arm: str
    figures: Sequence[str] = ()


def merged(notes: Iterable[Note]) -> Iterable[str]:
    """Each sentence once, for all arms of which it is to be said; their figures follow in the order of the arms."""
    alike: dict[str, list[Note]] = {}
    for note in notes:
        alike.setdefault(note.sentence, []).append(note)
    for sentence, same in alike.items():
        figures = zip(*(note.figures for note in same), strict=True)
        yield sentence.format(
            arm_names([note.arm for note in same]),
            *(of_arms[0] if len(set(of_arms)) == 1 else listed(of_arms) for of_arms in figures),
        )


def change(words: str, comparison: Comparison) -> Note:
    """What changed, in words with `{0}` for the arm and `{1}` for its control, and then from where to where."""
    before, after = comparison.control_mean, comparison.arm_mean
    means = [percent(mean) if comparison.metric in RATES else f"{mean:+.3f}" for mean in (before, after)]
    return Note(
        f"{words} from {{2}} to {{3}} ({difference_in(comparison.metric)}: {{4}}; {{5}} after Holm's correction)",
        comparison.arm,
        (f"`{comparison.control}`", *means, difference_figure(comparison), p_figure(comparison)),
    )


def percent(share: float) -> str:
    """Such as `12.5 %`."""
    return f"{100 * share:.1f} %"


def difference_in(metric: str) -> str:
    """The unit of a difference in this metric, as a note says it before `difference_figure`."""
    return f"{'points' if metric in RATES else 'nats per token'} with 95 % interval"


def difference_figure(comparison: Comparison) -> str:
    """Such as `+1.3 [-2.4, +5.5]`, in the unit of `difference_in`."""
    scale, digits = (100, 1) if comparison.metric in RATES else (1, 3)
    value, low, high = (f"{scale * limit:+.{digits}f}" for limit in comparison.difference)
    return f"{value} [{low}, {high}]"


def p_figure(comparison: Comparison) -> str:
    """Such as `p = 0.012`, after Holm's correction."""
    return "p < 0.001" if comparison.p_holm < 0.001 else f"p = {comparison.p_holm:.3f}"


def size_words(metric: str, size: float) -> str:
    """The size of a difference with its unit, without a sign."""
    if math.isinf(size):
        return "none that can be stated"
    return f"{100 * size:.1f} points" if metric in RATES else f"{size:.3f} nats per token"


def before_holm(primary: Sequence[Comparison]) -> str:
    """That the sizes stated are those of one arm; empty where there is one."""
    arms = len({comparison.arm for comparison in primary})
    return f"; more with Holm's correction over {arms} arms" if arms > 1 else ""


def arm_names(names: Sequence[str]) -> str:
    """Such as ``arms `a`, `b` and `c` ``."""
    return f"{plural('arm', len(names))} {listed([f'`{name}`' for name in names])}"


def listed(words: Sequence[str]) -> str:
    """Such as `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def plural(noun: str, count: int) -> str:
    """The noun, with an s unless there is one."""
    return noun if count == 1 else f"{noun}s"
