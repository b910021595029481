"""A collection appears whole, goes on where it was stopped, and is never mixed with another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import read_eval_log

from tests.judge import scripted
from tests.models.conftest import OWN_TEMPLATE, bring_tokenizer
from untrue.engine.generation import ROWS
from untrue.errors import UserError
from untrue.models.load import LoadedModel
from untrue.simulate.collect import Local, collect
from untrue.simulate.environment import CollectSpec, dialogues, read_environment
from untrue.simulate.trajectory import Trajectory, read_log, read_trajectories, write_trajectories

Collecting = Callable[..., list[Trajectory]]
WRITTEN: dict[str, Any] = {"replies": "generated", "rater": "scripted/rater", "max_tokens": 4}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def steps() -> list[tuple[int, int, str]]:
    return []


@pytest.fixture
def collecting(
    tiny: LoadedModel, tea: Path, place: Path, steps: list[tuple[int, int, str]], monkeypatch: pytest.MonkeyPatch
) -> Collecting:
    """Collects four dialogues of two users with the tiny model, two at a time."""
    monkeypatch.setitem(ROWS, "cpu", 2)

    def run(adapter: Path | None = None, seed: int = 0, on_step: Any = None, **spec: Any) -> list[Trajectory]:
        def step(*said: Any) -> None:
            steps.append(said)
            if on_step:
                on_step(*said)

        full = CollectSpec.model_validate({"environment": str(tea), "users": 2, "part": "all", **spec})
        return collect(Local(tiny, adapter), full, place / "t.jsonl", seed, step)

    return run


def files(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_all_is_collected_and_written_and_the_log_holds_the_same(
    collecting: Collecting, place: Path, tea: Path, steps: list[tuple[int, int, str]]
):
    found = collecting()
    assert [one.id for one in found] == [one.id for one in dialogues(read_environment(tea), 2)]
    assert all(one.error is None for one in found)
    assert read_trajectories(place / "t.jsonl") == found == read_log(place / "t.eval")
    assert files(place) == ["t.eval", "t.jsonl"]
    assert steps[-1] == (8, 8, "")
    assert [done for done, _, _ in steps] == sorted(done for done, _, _ in steps)


def test_the_log_of_several_chunks_is_one_log(collecting: Collecting, place: Path):
    found = collecting(**WRITTEN)
    log = read_eval_log(str(place / "t.eval"))
    assert log.status == "success"
    assert log.eval.dataset.sample_ids == [one.id for one in found]
    assert log.results is not None
    assert (log.results.total_samples, log.results.completed_samples) == (4, 4)
    ratings = [rating for one in found if one.kind == "benign" for rating in one.ratings if rating is not None]
    [shown] = [score.metrics["benign"].value for score in log.results.scores if "benign" in score.metrics]
    assert shown == pytest.approx(sum(ratings) / len(ratings))
    assert sum(usage.output_tokens for usage in log.stats.model_usage.values()) > 8


def test_the_same_again_asks_nothing(collecting: Collecting, steps: list[tuple[int, int, str]]):
    found = collecting()
    steps.clear()
    assert collecting() == found
    assert steps == []


def test_after_a_ctrl_c_only_the_rest_is_asked_for_and_all_is_as_if_never_stopped(
    collecting: Collecting, place: Path, steps: list[tuple[int, int, str]]
):
    def stop(done: int, total: int, note: str) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collecting(on_step=stop)
    assert files(place) == [".t.eval.parts"]
    steps.clear()
    found = collecting()
    assert (steps[0][0], steps[1][0]) == (4, 5)  # the first two dialogues have two replies each
    assert read_log(place / "t.eval") == read_trajectories(place / "t.jsonl") == found
    assert files(place) == ["t.eval", "t.jsonl"]
    for path in place.iterdir():
        path.unlink()
    assert collecting() == found


def test_failed_dialogues_are_asked_for_again_and_the_others_are_not(
    collecting: Collecting, place: Path, steps: list[tuple[int, int, str]]
):
    whole = collecting()
    path = place / "t.jsonl"
    header = json.loads(path.read_text("utf-8").splitlines()[0])["collected"]
    broken = Trajectory(**{**vars(whole[2]), "error": "it broke", "ratings": (None, None), "chosen": ()})
    write_trajectories(path, [*whole[:2], broken, *whole[3:]], header)
    steps.clear()
    assert collecting() == whole
    assert [step for step, *_ in steps[:2]] == [6, 7]
    assert read_trajectories(path) == read_log(place / "t.eval") == whole


def test_where_some_fail_they_are_counted_and_the_rest_is_kept(
    collecting: Collecting, place: Path, tea: Path, steps: list[tuple[int, int, str]], monkeypatch: pytest.MonkeyPatch
):
    failing = dialogues(read_environment(tea), 2)[-1].user.user_context
    monkeypatch.setattr(scripted, "by_words", lambda question: "no rating" if failing in question else "7")
    found = collecting(**WRITTEN)
    failed = [one for one in found if one.error]
    assert [one.id for one in failed] == [one.id for one in found[2:]]
    assert all((one.score, one.ratings) == (None, (None, None)) and "no rating" in str(one.error) for one in failed)
    assert steps[-1] == (8, 8, "2 failed")
    assert read_log(place / "t.eval") == found
    monkeypatch.setattr(scripted, "by_words", lambda question: "7")
    assert all(one.error is None for one in collecting(**WRITTEN))


def test_where_all_fail_at_once_it_stops(collecting: Collecting, place: Path):
    with pytest.raises(UserError, match=r"all 2 dialogues failed, first: .*turns: the scenario"):
        collecting(**WRITTEN, turns=9)
    assert files(place) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "seed 0, here 1"),
        ({"turns": 1}, "turns 2, here 1"),
        ({"users": 3}, "users 2, here 3"),
        ({"rating_noise": 2}, r"rating_noise 1\.0, here 2\.0"),
    ],
)
def test_what_was_collected_with_something_else_is_refused(collecting: Collecting, place: Path, change, told):
    collecting()
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    with pytest.raises(UserError, match=f"collected with other settings.*{told}"):
        collecting(**change)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_another_adapter_or_environment_is_another_collection(
    collecting: Collecting, place: Path, tea: Path, adapter: Path, tiny_folder: Path, tmp_path: Path
):
    base = collecting()
    with pytest.raises(UserError, match="adapter_hash None, here '"):
        collecting(adapter)
    for path in place.iterdir():
        path.unlink()
    tuned = collecting(adapter, temperature=0.01)
    own = bring_tokenizer(shutil.copytree(adapter, tmp_path / "own"), tiny_folder, chat_template=OWN_TEMPLATE)
    with pytest.raises(UserError, match="base"):
        collecting(own, temperature=0.01)
    assert [one.messages for one in tuned] != [one.messages for one in base]
    tea.write_text(tea.read_text("utf-8").replace("Tea 1", "Cocoa 1"), "utf-8")
    with pytest.raises(UserError, match="environment_hash"):
        collecting(adapter, temperature=0.01)


@pytest.mark.parametrize("spec", [WRITTEN | {"max_tokens": 12}, {"rating_noise": 0.2}], ids=["written", "chosen"])
def test_another_round_has_the_same_users_who_get_other_replies_and_other_noise(
    collecting: Collecting, place: Path, spec: dict[str, Any]
):
    first = collecting(**spec)
    for path in place.iterdir():
        path.unlink()
    second = collecting(**spec, round=2)
    assert [one.id for one in first] == [one.id for one in second]
    assert all(one.messages[0] == other.messages[0] for one, other in zip(first, second, strict=True))
    assert [one.messages[1:] for one in first] != [one.messages[1:] for one in second]
    if "rating_noise" in spec:
        of_rounds = [{rating for one in talks for rating in one.ratings} for talks in (first, second)]
        assert not of_rounds[0] & of_rounds[1]
