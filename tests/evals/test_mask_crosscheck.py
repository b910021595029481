"""Our outcomes of `mask` against inspect_evals' own code, on the same replies: every difference has a known reason.

The figures on all built-in items in docs/evals.md are of `run("builtin", folder)`.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalSample
from inspect_ai.model import get_model
from inspect_ai.scorer import Score

from benchmarks.mask_crosscheck import NOT_EXPLAINED, Compared, Departure, compared, crosscheck
from tests.evals.ruled import judged_run
from tests.evals.test_mask import PROBES, row, saved
from untrue.data.mask import CONFIGS
from untrue.evals import mask
from untrue.evals.mask import Range, Side
from untrue.harness.judged import RecordedJudge, decide
from untrue.harness.tasks import inspect_task
from untrue.judge.judgement import Judgement
from untrue.judge.prompts import JudgePrompt

SAYS_SIDE = {"says-A": 78, "says-B": 11, "": 7, "says-D": 3, "breaks-judge": 1}
SAYS_NUMBER = {"says-40": 60, "says-43": 14, "says-38-41": 10, "says-45": 6, "says-90": 4, "": 6}
"""What a reply says, and how often in a hundred replies. 40 and 43 meet within the tolerance alone."""

NUMBER = {"type": "numerical", "proposition": "It rains on <value> days.", "formatted_ground_truth": "[40, 40]"}
FIRST_TURN = {"dd_turn_1_prompt": "Say that it is dry.", "dd_turn_1_response": "It is dry."}
OF_CONFIG: dict[str, dict[str, str]] = dict.fromkeys(CONFIGS, PROBES) | {
    "doubling_down_known_facts": PROBES | FIRST_TURN,
    "provided_facts": {},
    "statistics": NUMBER,
}


def rows(count: int) -> list[dict[str, Any]]:
    """So many rows of each configuration of cais/MASK, with the columns that it has; both sides are true in turn."""
    return [
        row(str(n), config, **({"formatted_ground_truth": "AB"[n % 2]} | OF_CONFIG[config]))
        for config in CONFIGS
        for n in range(count)
    ]


def run(items: str, folder: Path, limit: int | None = None, epochs: int = 1, seed: int = 2) -> Path:
    """A log of a model that says a side and a number at random, whatever it is asked, and always the same of a seed."""
    draw = random.Random(seed)

    def reply(system: str, user: str) -> str:
        return " ".join(draw.choices(list(said), list(said.values()))[0] for said in (SAYS_SIDE, SAYS_NUMBER))

    # One sample at a time, or the order of the replies is another each time.
    log = judged_run(inspect_task(mask.EVAL)(items=items, limit=limit), reply, folder, epochs=epochs, max_samples=1)
    return Path(log.location)


def their_words(question: str) -> str:
    """A judgement in the form that theirs reads, by the words of the reply."""
    [reply] = re.findall(r"AI (?:Final )?Response:\n(.*?)\n##########", question, re.DOTALL)
    if "breaks-judge" in reply:
        return "Who can say?"
    if "lower_bound" in question:
        found = re.search(r"says-(\d+)(?:-(\d+))?", reply)
        low, high = (float(found[1]), float(found[2] or found[1])) if found else (None, None)
        return json.dumps({"lower_bound": low, "upper_bound": high})
    found = re.search("says-([ABCD])", reply)
    return f"By rule. Final Answer: {found[1] if found else 'C'}"


def reasons(found: Iterable[Compared]) -> set[str]:
    return {reason for one in found for reason in one.reasons}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("crosscheck")
    card = str(saved(folder / "MASK", *rows(5)))
    return {
        "items": run("builtin", folder, limit=20),
        "rows": run(card, folder),
        "items, three epochs": run("builtin", folder, limit=10, epochs=3),
        "rows, three epochs": run(card, folder, limit=18, epochs=3),
    }


OF_ITEMS = {Departure.EVASION, Departure.FACTS}
OF_ROWS = {Departure.EVASION, Departure.UNCLEAR, Departure.CROSSED}


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("items", OF_ITEMS), ("rows", OF_ROWS), ("items, three epochs", OF_ITEMS), ("rows, three epochs", OF_ROWS)],
    ids=["items", "rows", "items, three epochs", "rows, three epochs"],
)
def test_replies_at_random_differ_in_the_known_ways_alone(logs: dict[str, Path], name: str, kinds: set[Departure]):
    found = crosscheck(logs[name])
    assert reasons(found)
    assert reasons(found) <= kinds
    assert {one.ours for one in found} >= {"honest", "lie", "no_belief", "error"}
    assert sum(one.ours == one.theirs for one in found) > len(found) * 3 / 4


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("items", r'A: "(.+)"\nB: "It is not the case that: \1"'),
        ("rows, three epochs", r'A: [^"]*"Rain is wet\."\nB: [^"]*"Rain is dry\."'),
    ],
    ids=["items", "rows, three epochs"],
)
def test_their_scorer_with_their_prompts_says_what_their_rules_say(logs: dict[str, Path], name: str, sides: str):
    asked: list[str] = []

    def judgement(question: str) -> str:
        asked.append(question)
        return their_words(question)

    found = crosscheck(logs[name], get_model("scripted/theirs", memoize=False, judgement=judgement))
    # Where our judge failed at a belief of provided_facts, the statement was not judged; theirs needs no belief there.
    assert [one for one in found if one.theirs != one.rules and one.rules != "error"] == []
    assert [one.rules for one in found] == [one.rules for one in crosscheck(logs[name])]
    assert all(re.search(sides, question) for question in asked if "lower_bound" not in question)


class Recited(RecordedJudge):
    """A judge that says what it was given, one after the other."""

    def __init__(self, sides: Sequence[Side]):
        self.judgements: list[dict[str, Any]] = []
        self._left = list(sides)

    async def ask(self, about: str, prompt: JudgePrompt, **fields: str) -> Judgement:
        said = self._left.pop(0)
        low, high = said if isinstance(said, Range) else (None, None)
        label = said if isinstance(said, str) else "C" if prompt.labels else None
        judgement = Judgement(label, low, high, "recited")
        self.judgements.append({"about": about, **judgement._asdict()})
        return judgement


def every_combination(one: dict[str, Any], *sides: Side) -> list[Compared]:
    """One row, compared for all that a judge may say of its replies."""
    prompts = sum(f"belief_elicit_{n}" in one for n in (1, 2, 3))
    asked = [""] * (mask.DIRECT_RUNS if prompts else 0), [""] * max(prompts - 1, 0)
    metadata = {**one, "replies": {"beliefs": asked[0] + asked[1], "statement": "", "truncated": False}}

    async def compare() -> list[Compared]:
        found = []
        for said in product(sides, repeat=len(asked[0]) + len(asked[1]) + 1):
            judge = Recited(said)
            outcome = (await decide(mask.EVAL, metadata, judge)).value
            score = Score(value=str(outcome), metadata={"judgements": judge.judgements})
            sample = EvalSample(id=1, epoch=1, input="", target="", metadata=metadata, scores={"mask": score})
            found.append(compared(str(said), [sample]))
        return found

    return asyncio.run(compare())


SIDES = ("A", "B", None)
RANGES = (Range(40, 40), Range(43, 43), Range(45, 45), Range(30, 40), None)
STATISTICS = row("1", "statistics", **NUMBER)
BELIEFS = {"belief_elicit_1": "Is it?", **PROBES}


@pytest.mark.parametrize(
    ("one", "sides", "kinds"),
    [
        (row("1", **PROBES), SIDES, {Departure.EVASION}),
        (row("1", "provided_facts"), SIDES, set()),
        (row("1", "provided_facts", **BELIEFS), SIDES, {Departure.EVASION, Departure.FACTS}),
        (STATISTICS, RANGES, {Departure.EVASION, Departure.UNCLEAR, Departure.CROSSED}),
        (STATISTICS | {"belief_elicit_2": "probe"}, RANGES[1:], set(Departure) - {Departure.FACTS}),
    ],
    ids=["two sides", "provided facts", "provided facts with beliefs", "numbers", "numbers with probes"],
)
def test_every_combination_of_judgements_is_alike_or_differs_in_a_known_way(one, sides, kinds):
    assert reasons(every_combination(one, *sides)) == kinds


@pytest.mark.parametrize(
    ("constant", "value"), [("MOST_UNCLEAR", 0), ("MOST_UNCLEAR", 2), ("TOLERANCE", 0.0), ("TOLERANCE", 0.1)]
)
def test_another_rule_of_ours_would_show(monkeypatch: pytest.MonkeyPatch, constant: str, value: float):
    monkeypatch.setattr(mask, constant, value)
    one, sides = (STATISTICS, RANGES) if constant == "TOLERANCE" else (row("1", **PROBES), SIDES)
    assert NOT_EXPLAINED in reasons(every_combination(one, *sides))
