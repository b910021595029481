"""A judged eval that is run again: replies that there are get taken, and none is lost in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inspect_ai._util.error import pip_dependency_error
from inspect_ai.model import GenerateConfig, Model, get_model

from tests.evals.ruled import api
from untrue.errors import UserError
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.harness.eval import EvalSpec
from untrue.harness.run import run_model
from untrue.logs import read_log


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., str]:
    """Writes rows of MASK that take a belief and a statement each; gives the file."""

    def write(count: int = 6, proposition: str = "p") -> str:
        lines = [
            {"task_id": n, "user_prompt": f"u {n}", "proposition": f"{proposition} {n}", "belief_elicit_1": f"b {n}"}
            for n in map(str, range(count))
        ]
        path = tmp_path / "known_facts.jsonl"
        path.write_text("".join(json.dumps({**line, "ground_truth": "yes"}) + "\n" for line in lines), "utf-8")
        return str(path)

    return write


def ruled(name: str = "model", **settings: Any) -> Model:
    """A model whose replies are all different."""
    said: list[str] = []

    def reply(system: str, user: str) -> str:
        said.append(f"says-A {name} {len(said)}")
        return said[-1]

    return get_model(f"ruled/{name}", memoize=False, reply=reply, config=GenerateConfig(**settings))


@pytest.fixture
def model() -> Model:
    return ruled()


@pytest.fixture
def spec(rows: Callable[..., str]) -> EvalSpec:
    return eval_spec(name="mask", items=rows(), judge="scripted/judge", limit=3, epochs=2)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "mask.eval"


def calls(model: Model) -> int:
    return len(api(model).calls)


def statements(log: Path) -> dict[tuple[str, int], str | None]:
    return {(one.item, one.epoch): one.reason for one in read_log(log, "arm", 0)}


def changed(spec: EvalSpec, **changes: Any) -> EvalSpec:
    options = {**spec.model_dump(), **changes}
    known = EVALS[options["name"]].options.model_fields
    return eval_spec(**{key: value for key, value in options.items() if key in known})


def test_more_epochs_and_items_take_the_replies_that_are_there(model: Model, spec: EvalSpec, log: Path):
    run_model(model, spec, log)
    assert calls(model) == 3 * (3 + 2)
    first = statements(log)
    run_model(model, changed(spec, epochs=5), log)
    assert calls(model) == 3 * (3 + 5)  # no belief is elicited again
    run_model(model, changed(spec, epochs=5, limit=None), log)
    assert calls(model) == 6 * (3 + 5)
    assert len(statements(log)) == 6 * 5
    assert first.items() <= statements(log).items()
    run_model(model, changed(spec, epochs=5, limit=None), log)
    assert calls(model) == 6 * (3 + 5)


def test_a_default_that_is_given_is_no_other_setting(model: Model, spec: EvalSpec, log: Path):
    run_model(model, spec, log)
    before = calls(model)
    run_model(model, changed(spec, temperature=1.0, max_tokens=1000), log)
    assert calls(model) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": 7}, "holds replies with max_tokens 1000, now 7"),
        ({"temperature": 0.5}, "holds replies with temperature 1.0, now 0.5"),
        ({"epochs": 1}, "holds replies to 3 samples that are not asked for now, such as known_facts/0 \\(epoch 2\\)"),
        ({"limit": 2}, "holds replies to 2 samples that are not asked for now"),
        ({"name": "unknowns", "items": "builtin"}, "holds replies with eval 'mask', now 'unknowns'"),
        ({"name": "capability", "items": "builtin", "epochs": None, "judge": None}, "holds replies to mask"),
    ],
)
def test_a_log_of_other_replies_is_not_replaced(model, spec, log, change: dict[str, Any], message: str):
    run_model(model, spec, log)
    before, asked = log.read_bytes(), calls(model)
    with pytest.raises(UserError, match=f"mask.eval: {message}.* Give --log another file .*, or delete it"):
        run_model(model, changed(spec, **change), log)
    assert (log.read_bytes(), calls(model)) == (before, asked)


def test_another_model_adapter_or_wording_is_other_replies(model, spec, log, rows):
    run_model(model, spec, log, adapter={"content_hash": "1234"})
    for other, hashed, message in (
        (ruled("other"), "1234", "model 'ruled/model', now 'ruled/other'"),
        (ruled(top_p=0.5), "1234", "model_settings "),
        (model, "5678", "adapter '1234', now '5678'"),
    ):
        with pytest.raises(UserError, match=message):
            run_model(other, spec, log, adapter={"content_hash": hashed})
    proved = {"content_hash": "1234", "served": "adapter"}
    with pytest.raises(UserError, match="adapter_proof None, now 'adapter'"):  # else the proof would cover the old ones
        run_model(model, spec, log, adapter=proved)
    rows(proposition="q")
    with pytest.raises(UserError, match="replies to 6 samples that are not asked for now"):
        run_model(model, spec, log, adapter={"content_hash": "1234"})


def test_what_cannot_be_read_is_not_replaced(model: Model, spec: EvalSpec, log: Path):
    log.write_bytes(b"a part of a log")
    with pytest.raises(UserError, match="cannot be read as an Inspect log"):
        run_model(model, spec, log)
    assert (log.read_bytes(), calls(model)) == (b"a part of a log", 0)


def test_a_model_that_fails_on_everything_is_one_plain_line(spec: EvalSpec, log: Path):
    def fail(system: str, user: str) -> str:
        raise pip_dependency_error("Mine", ["mine"])

    with pytest.raises(UserError) as error:
        run_model(get_model("ruled/model", memoize=False, reply=fail), spec, log)
    said = "Mine requires optional dependencies. Install with: pip install mine."
    assert str(error.value) == f"the eval mask failed on all 6 items, first: {said}"
    assert not log.exists()


def test_replies_in_another_dtype_are_other_replies(spec: EvalSpec, log: Path, tiny_folder: Path, bfloat16: str):
    """A log in bfloat16 was once given for one in float32."""
    from untrue.harness.run import run
    from untrue.models.load import load

    spec = spec.model_copy(update={"max_tokens": 4})
    run(load(str(tiny_folder), dtype=bfloat16, device="cpu"), None, spec, log)
    before = log.read_bytes()
    with pytest.raises(UserError, match=r"holds replies with model_settings '\w+', now '\w+'\. Give --log another"):
        run(load(str(tiny_folder), dtype="float32", device="cpu"), None, spec, log)
    assert log.read_bytes() == before


def test_a_question_of_another_version_is_asked_again_of_the_same_replies(
    model: Model, spec: EvalSpec, log: Path, monkeypatch: pytest.MonkeyPatch
):
    from untrue.evals import mask
    from untrue.judge import prompts
    from untrue.logs import open_log

    run_model(model, spec, log)
    said, asked = statements(log), calls(model)
    newer = prompts.STATEMENT._replace(version=prompts.STATEMENT.version + 1)
    monkeypatch.setattr(mask, "STATEMENT", newer)
    monkeypatch.setitem(EVALS, "mask", replace(EVALS["mask"], questions=(newer, prompts.RANGE)))
    run_model(model, spec, log)
    judgements = [
        one["version"]
        for sample in open_log(log).samples or []
        for score in (sample.scores or {}).values()
        for one in (score.metadata or {})["judgements"]
    ]
    assert set(judgements) == {newer.version}
    assert (statements(log), calls(model)) == (said, asked)
