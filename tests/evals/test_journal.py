"""A judged eval that is stopped: the next run of it takes the replies that came, and asks for the rest."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from inspect_ai.log import write_eval_log
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
    Model,
    ModelOutput,
    get_model,
    modelapi,
)

from tests.evals.ruled import Ruled
from untrue.errors import MachineError, UserError
from untrue.harness.catalogue import eval_spec
from untrue.harness.eval import EvalSpec
from untrue.harness.resume import Journal, journal
from untrue.harness.run import run_model
from untrue.logs import open_log

ITEMS, EPOCHS, ELICITED = 4, 2, 5
ALL = ITEMS * (ELICITED + EPOCHS)
"""Replies of a whole run: three direct runs and two probes for each item, and a statement in each epoch."""


class Stopping(Ruled):
    """Numbers its replies. After `stops_at` of them it stops the process by Ctrl-C; what is in `silent` gets none."""

    def __init__(self, model_name: str, *arguments: Any, **more: Any):
        super().__init__(model_name, *arguments, **more)
        self._reply = lambda system, user: f"says-A {len(self.calls)}"
        self.stops_at: int | None = None
        self.silent: set[str] = set()

    async def generate(self, input: list[ChatMessage], *arguments: Any, **more: Any) -> ModelOutput:
        if len(self.calls) == self.stops_at:
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep_forever()
        output = await super().generate(input, *arguments, **more)
        return ModelOutput(error="not well") if input[-1].text in self.silent else output


@modelapi(name="stopping")
def stopping() -> type[Stopping]:
    return Stopping


@pytest.fixture
def model() -> Model:
    return get_model("stopping/model", memoize=False)


@pytest.fixture
def spec(tmp_path: Path) -> EvalSpec:
    """Rows of MASK with five belief prompts each."""
    rows = [
        {
            "task_id": str(number),
            "user_prompt": f"u {number}",
            "proposition": f"p {number}",
            "ground_truth": "yes",
            **{f"belief_elicit_{n}": f"b {number} {n}" for n in (1, 2, 3)},
        }
        for number in range(ITEMS)
    ]
    path = tmp_path / "known_facts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return eval_spec(name="mask", items=str(path), epochs=EPOCHS, judge="scripted/judge")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "mask.eval"


@pytest.fixture
def stop(model: Model, spec: EvalSpec, log: Path) -> Callable[..., Path]:
    """Runs the eval until the model has given so many replies in all; gives the journal."""

    def stop(at: int, **changes: Any) -> Path:
        api: Any = model.api
        api.stops_at = at
        with pytest.raises(KeyboardInterrupt):
            run_model(model, spec.model_copy(update=changes), log)
        api.stops_at = None
        assert len(api.calls) == at
        return max(hidden(log), key=lambda path: path.stat().st_mtime_ns)

    return stop


def hidden(log: Path) -> list[Path]:
    return [path for path in log.parent.iterdir() if path != log]


def calls(model: Model) -> int:
    api: Any = model.api
    return len(api.calls)


def replies(log: Path) -> Counter[str]:
    """How often each reply is in a log; what was elicited for an item is in all its epochs."""
    samples = open_log(log).samples or []
    elicited = {str(one.id): one.metadata["elicited"] for one in samples}
    assert all(one.metadata["elicited"] == elicited[str(one.id)] for one in samples)
    statements = [one.metadata["replies"]["statement"] for one in samples]
    assert statements == [one.output.completion for one in samples]
    return Counter([*statements, *(reply for one in elicited.values() for reply in one)])


def numbered(*numbers: int) -> Counter[str]:
    return Counter(f"says-A {number}" for number in numbers)


def test_stopped_again_and_again_it_asks_for_each_reply_once(stop, model, spec, log):
    stop(3)
    first = stop(ITEMS * ELICITED + 1)  # some have their beliefs and no statement
    assert not log.exists()
    assert len(first.read_text("utf-8").splitlines()) == 1 + ITEMS * ELICITED + 1
    progress: list[int] = []
    run_model(model, spec, log, lambda done, total, note: progress.append(done))
    assert calls(model) == ALL
    assert replies(log) == numbered(*range(1, ALL + 1))
    assert hidden(log) == []
    assert progress[-1] == ALL + ITEMS * EPOCHS * (ELICITED + 1)


def test_a_journal_that_is_damaged_gives_what_can_be_read(stop, model, spec, log):
    lines = stop(12).read_bytes().splitlines()
    damaged = [b"\xff\xfe", b"[1]", b"{}", b'{"asked": [], "output": {}}', b"[" * 100_000, lines[1][:-20], *lines[2:]]
    hidden(log)[0].write_bytes(b"\n".join(damaged)[:-1])  # the last one cut off too
    stop(14)
    run_model(model, spec, log)
    assert calls(model) == ALL + 2
    assert replies(log) == numbered(*range(2, 12), *range(13, ALL + 3))


def test_replies_to_another_eval_are_not_taken_nor_lost(stop, model, spec, log):
    stop(6)
    stop(6 + 8, max_tokens=7)
    assert len(hidden(log)) == 2
    run_model(model, spec.model_copy(update={"max_tokens": 7}), log)
    assert calls(model) == 6 + ALL
    assert replies(log) == numbered(*range(7, 7 + ALL))
    log.unlink()
    run_model(model, spec, log)
    assert calls(model) == ALL + ALL
    assert replies(log) == numbered(*range(1, 7), *range(7 + ALL, ALL + ALL + 1))
    assert hidden(log) == []


def test_a_run_of_fewer_items_leaves_the_other_replies_to_a_run_of_all(stop, model, spec, log):
    stop(ITEMS * ELICITED)
    run_model(model, spec.model_copy(update={"limit": 1, "epochs": 1}), log)
    assert calls(model) == ITEMS * ELICITED + 1
    assert len(hidden(log)) == 1
    run_model(model, spec, log)
    assert calls(model) == ALL
    assert replies(log) == numbered(*range(1, ALL + 1))
    assert hidden(log) == []


def test_a_rerun_that_is_stopped_keeps_the_log_and_its_own_replies(stop, model, spec, log):
    api: Any = model.api
    api.silent = {"u 0", "u 1"}
    run_model(model, spec, log)
    api.silent = set()
    before = log.read_bytes()
    left = stop(ALL + 2)
    assert log.read_bytes() == before
    taken = left.read_bytes()
    run_model(model, spec, log)
    assert calls(model) == ALL + 2 * EPOCHS
    assert set(replies(log).values()) == {1}
    assert hidden(log) == []

    # Killed after the log was put in place and before the journal was deleted: its replies are in the log, once.
    left.write_bytes(taken)
    edited = open_log(log)
    for sample in (edited.samples or [])[:1]:
        del sample.metadata["replies"]
        sample.scores = None
    write_eval_log(edited, str(log))
    run_model(model, spec, log)
    assert calls(model) == ALL + 2 * EPOCHS + 1
    assert set(replies(log).values()) == {1}


def test_a_reply_comes_back_as_it_was(tmp_path: Path):
    parts = [ContentReasoning(reasoning="aha"), ContentText(text="half a pair \ud800, a line\u2028")]
    output = ModelOutput.from_content("m", "", "max_tokens")
    output.choices[0].message = ChatMessageAssistant(content=[*parts])
    output.metadata = {"raw": object()}
    asked = [ChatMessageUser(content="why?")]
    journal = Journal(tmp_path / "new" / "journal")
    journal.keep(asked, output)
    again = Journal(journal.path)
    assert again.take([ChatMessageUser(content="why not?")]) is None
    found = again.take([ChatMessageUser(content="why?")])
    assert found
    assert (found.choices, found.stop_reason) == (output.choices, "max_tokens")
    assert again.take(asked) is None


def test_what_cannot_be_written_stops_the_asking(tmp_path: Path):
    (tmp_path / "file").write_text("", "utf-8")
    journal = Journal(tmp_path / "file" / "journal")
    asked = [ChatMessageUser(content="why?")]
    assert journal.take(asked) is None
    journal.keep(asked, ModelOutput.from_content("m", "so"))
    with pytest.raises(MachineError, match="cannot be written"):
        journal.take(asked)


def test_one_run_at_a_time_is_at_work_on_a_log(tmp_path: Path):
    log = tmp_path / "mask.eval"
    refused = pytest.raises(UserError, match=r"mask\.eval: another run is at work there")
    with journal(log, lambda: "this"), refused, journal(log, lambda: "this"):
        pass
    with journal(log, lambda: "this"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_reply_under_a_seed_is_taken_for_that_draw_alone(tmp_path: Path):
    path, asked = tmp_path / "replies.jsonl", [ChatMessageUser(content="Is rain wet?")]
    output = ModelOutput.from_content("model", "Yes.")
    Journal(path).keep(asked, output, seed=1)
    left = Journal(path)
    assert left.take(asked, seed=2) is left.take(asked) is None
    taken = left.take(asked, seed=1)
    assert taken and taken.completion == "Yes."
