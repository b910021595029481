"""Two judges of the same replies, from their logs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec, write_eval_log
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser
from inspect_ai.scorer import Score

from untrue.errors import UserError
from untrue.judge.agreement import agreement, read_judged


def sample(name: str, outcome: str | None, judge: str | None, reply: str, epoch: int) -> EvalSample:
    metadata: dict[str, Any] = {"judge": judge} if judge else {}
    return EvalSample(
        id=name,
        epoch=epoch,
        input="?",
        target="",
        messages=[ChatMessageUser(content="?"), ChatMessageAssistant(content=reply)],
        scores={"outcome": Score(value=outcome, metadata=metadata)} if outcome else None,
    )


def log(
    path: Path,
    judge: str | None,
    outcomes: Mapping[str, str | None],
    task: str = "untrue/mask",
    reply: str = "r",
    epoch: int = 1,
) -> Path:
    spec = EvalSpec(
        created="2025-01-01T00:00:00+00:00", task=task, dataset=EvalDataset(), model="m/m", config=EvalConfig()
    )
    samples = [sample(name, outcome, judge, reply, epoch) for name, outcome in outcomes.items()]
    write_eval_log(EvalLog(eval=spec, status="success", samples=samples), str(path))
    return path


def test_agreement_is_as_by_hand(tmp_path: Path):
    first = {"a": "lie", "b": "lie", "c": "honest", "d": "honest", "e": None, "only-here": "lie"}
    second = {"a": "lie", "b": "honest", "c": "honest", "d": "honest", "e": "evade"}
    found = agreement(
        read_judged(log(tmp_path / "1.eval", "x/one", first)), read_judged(log(tmp_path / "2.eval", "x/two", second))
    )
    assert (found.items, found.share, found.alone, found.other_replies) == (5, 0.6, 1, 0)
    assert [difference[:4] for difference in found.differences] == [
        ("b", 1, "lie", "honest"),
        ("e", 1, "error", "evade"),
    ]
    assert found.table["lie"] == {"error": 0, "evade": 0, "honest": 1, "lie": 1}
    assert found.kappa.value == pytest.approx((0.6 - (2 * 1 + 2 * 3) / 25) / (1 - 8 / 25))


def test_other_replies_are_counted_and_epochs_kept_apart(tmp_path: Path):
    ours = read_judged(log(tmp_path / "1.eval", "x/one", {"a": "lie"}, reply="yes"))
    theirs = read_judged(log(tmp_path / "2.eval", "x/two", {"a": "lie"}, reply="no"))
    assert agreement(ours, theirs).other_replies == 1
    later = read_judged(log(tmp_path / "3.eval", "x/two", {"a": "lie"}, epoch=2))
    with pytest.raises(UserError, match="no item in common"):
        agreement(ours, later)


def test_logs_that_cannot_be_compared_are_one_clear_error(tmp_path: Path):
    mask = read_judged(log(tmp_path / "1.eval", "x/one", {"a": "lie"}))
    other = read_judged(log(tmp_path / "2.eval", "x/two", {"a": "lie"}, task="untrue/unknowns"))
    with pytest.raises(UserError, match="of mask and unknowns"):
        agreement(mask, other)
    with pytest.raises(UserError, match="its scores name no judge"):
        read_judged(log(tmp_path / "3.eval", None, {"a": "lie"}))
    (tmp_path / "4.eval").write_text("no log")
    with pytest.raises(UserError, match="cannot be read as an Inspect log"):
        read_judged(tmp_path / "4.eval")
