"""Every setting that can change a figure is in the key of its cell or of its eval; what cannot is in neither."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from untrue.harness.catalogue import EVALS, eval_spec
from untrue.study.config import Study, load
from untrue.study.plan import eval_identity, plan
from untrue.training.spec import TrainSpec

Make = Callable[..., Study]

TRAIN: dict[str, Any] = {
    "method": None,  # refused here: it is a setting of the route of interaction, tested below
    "learning_rate": 2e-3,
    "epochs": 5,
    "batch_size": 3,
    "gradient_accumulation": 2,
    "max_length": 99,
    "weight_decay": 0.5,
    "warmup_steps": 3,
    "schedule": "cosine",
    "lora_rank": 5,
    "lora_alpha": 7,
    "rslora": True,
    "target_modules": ["q_proj"],
    "beta": 0.3,
    "reference": "base",
    "quantize": "nf4",
    "report_to": None,  # changes no figure
}
OPTIONS: dict[str, dict[str, Any]] = {
    "forced_choice": {"items": "honesty", "limit": 3, "order": "random"},
    "sft_cue": {"items": "honesty", "limit": 3, "order": "random", "domain": "finance", "cue": "format"},
    "capability": {"limit": 3},
    "reply_choice": {
        "items": "exam",
        "limit": 3,
        "assistant": "informed",
        "temperature": 0.2,
        "turns": 1,
        "part": "learn",
    },
    "mask": {
        "items": "honesty",
        "limit": 3,
        "judge": "openai/another",
        "force_self_judge": True,
        "epochs": 2,
        "temperature": 0.5,
        "max_tokens": 9,
    },
    "deceptionbench": {"placement": "system"},
}
BASE: dict[str, dict[str, Any]] = {"sft_cue": {"domain": "medical"}} | {
    name: {"judge": "openai/one"} for name in ("mask", "deceptionbench")
}


def cells(study: Study) -> dict[str, str]:
    return {cell.name: cell.identity for cell in plan(study, study.mix.read())}


def eval_key(**settings: Any) -> str:
    return eval_identity(load(Path("quickstart")), eval_spec(**settings), [])


def test_each_hyperparameter_is_in_the_key_of_its_cell(make_study: Make):
    assert TRAIN.keys() == TrainSpec.model_fields.keys(), "a new hyperparameter needs a case here"
    before = cells(make_study())
    for key, value in TRAIN.items():
        if value is not None:
            assert cells(make_study(**{f"train__{key}": value})) != before, key
    assert cells(make_study(train__report_to="tensorboard")) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [("model", "another/model"), ("dtype", "bfloat16"), ("mix__total", 6), ("mix__questions", "finance")],
)
def test_each_setting_of_a_study_is_in_the_key_of_its_cells(make_study: Make, key: str, value: Any):
    before, after = cells(make_study()), cells(make_study(**{key: value}))
    assert before.keys() == after.keys()
    assert all(after[name] != before[name] for name in before)


@pytest.mark.parametrize("key", ["name", "question"])
def test_what_a_study_is_called_is_in_no_key(make_study: Make, key: str):
    assert cells(make_study(**{key: "Another"})) == cells(make_study())


def test_arms_seeds_and_evals_are_told_apart_and_change_no_other_cell(make_study: Make):
    before = cells(make_study())
    more = cells(make_study(mix__shares=[0.5, 1.0], seeds=[0, 1], evals=[{"name": "capability"}]))
    assert before.items() <= more.items()
    assert len(set(more.values())) == len(more)


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, changes in OPTIONS.items() for key in changes])
def test_each_option_of_an_eval_is_in_its_key(name: str, key: str):
    before = eval_key(name=name, **BASE.get(name, {}))
    assert eval_key(name=name, **{**BASE.get(name, {}), key: OPTIONS[name][key]}) != before
    assert eval_key(name=name, label="another", **BASE.get(name, {})) == before


def test_every_option_has_a_case():
    with_case = {key for changes in OPTIONS.values() for key in changes} | {"name", "label"}
    assert with_case == {key for record in EVALS.values() for key in record.options.model_fields}


def test_the_version_of_an_eval_and_of_a_judges_questions_are_in_the_key(monkeypatch: pytest.MonkeyPatch):
    mask, forced = (eval_key(name=name, **BASE.get(name, {})) for name in ("mask", "forced_choice"))
    monkeypatch.setitem(EVALS, "forced_choice", replace(EVALS["forced_choice"], version=99))
    assert eval_key(name="forced_choice") != forced
    changed = tuple(prompt._replace(version=prompt.version + 1) for prompt in EVALS["mask"].questions)
    monkeypatch.setitem(EVALS, "mask", replace(EVALS["mask"], questions=changed))
    assert eval_key(name="mask", judge="openai/one") != mask


def test_the_content_of_a_local_judge_and_of_its_adapter_is_in_the_key(
    tiny_folder: Path, adapter: Path, tmp_path: Path
):
    own = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    judge = f"{{model: untrue/{tiny_folder}, model_args: {{adapter: {own}}}}}"
    before = eval_key(name="mask", judge=judge)
    config = own / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text("utf-8")), "lora_alpha": 99}), "utf-8")
    assert eval_key(name="mask", judge=judge) != before


INTERACTION: dict[str, Any] = {
    "by": None,
    "environment": "chat",
    "users": 6,
    "methods": {"sft": {"learning_rate": 1e-3}},
    "shares": None,  # names an arm, whose own share is in its key
    "assistant": "informed",
    "select": "random",
    "keep": 0.25,
    "rounds": 2,
    "turns": 1,
    "replies": None,  # needs a rater: below
    "temperature": 0.3,
    "rating_noise": 0.5,
    "max_tokens": 7,
    "variants": None,  # an arm of its own
    "user": "openai/one",
    "rater": "openai/one",
}


def test_each_setting_of_the_route_of_feedback_is_in_the_key_of_its_cells(make_study: Make):
    from untrue.study.routes.interaction import InteractionRoute

    assert INTERACTION.keys() == InteractionRoute.model_fields.keys(), "a new setting needs a case here"
    mix = {"by": "interaction", "environment": "exam", "users": 4, "methods": {"sft": {}}, "shares": [0.5]}

    def key(**changes: Any) -> str:
        return cells(make_study(mix={**mix, **changes}))["sft-0.5-s0"]

    before = key()
    for name, value in INTERACTION.items():
        if value is not None:
            assert key(**{name: value}) != before, name
    assert key(rater="openai/one", replies="generated") != key(rater="openai/one")


@pytest.mark.parametrize("file", ["chat_template.jinja", "config.json", "tokenizer.json", "model.safetensors"])
def test_all_of_a_local_judges_user_s_or_rater_s_folder_is_in_the_key(tiny_folder: Path, tmp_path: Path, file: str):
    from untrue.judge.models import content

    own = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    before = content(f"untrue/{own}")
    assert content(f"openai/{own}") == content(f"openai/{own}") != before
    data = (own / file).read_bytes()
    (own / file).write_bytes(data + b" " if file != "model.safetensors" else data[:-1] + bytes([data[-1] ^ 1]))
    assert content(f"untrue/{own}") != before
