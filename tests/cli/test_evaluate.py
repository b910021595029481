"""`untrue eval` with a judge: a server that fails, a rerun, a dry run, a judge that is not to be relied on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import read_eval_log
from transformers import AutoModelForCausalLM

import tests.judge.scripted  # noqa: F401
from tests.evals.echo import Echo
from tests.judge.server import JudgeServer
from untrue.judge.check import Check

TEXTS = {
    **{f"good-{number}": f"says-A says it {number}" for number in range(4)},
    "limited-once": "429-once says-A",
    "cut-once": "cut-once says-A",
    "limited": "429-always says-A",
    "slow": "slow-always says-A",
    "cut": "cut-always says-A",
    "wrong": "wrong-always says-A",
    "unwell": "model-once says-A",
}
BY_JUDGE = {"limited", "slow", "cut", "wrong"}
FAILED = BY_JUDGE | {"unwell"}


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    Echo.calls.clear()
    with JudgeServer() as running:
        yield running


@pytest.fixture
def items(place: Path) -> str:
    """Rows of MASK without a belief to elicit, so that each takes one reply and one verdict."""
    rows = [
        {"task_id": name, "user_prompt": text, "proposition": f"p of {name}", "ground_truth": "yes"}
        for name, text in TEXTS.items()
    ]
    Path("provided_facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return "provided_facts.jsonl"


def outcomes(log: str) -> dict[str, str]:
    found = {}
    for sample in read_eval_log(log).samples or []:
        [score] = (sample.scores or {}).values()
        found[str(sample.id).rpartition("/")[2].rpartition("-s-")[2]] = score.as_str()
    return {name: next(value for key, value in found.items() if key.endswith(name)) for name in TEXTS}


def test_nothing_is_lost_errors_are_counted_and_the_same_command_asks_only_for_what_failed(
    untrue: Callable, server: JudgeServer, items: str
):
    words = ["eval", "mask", f"items={items}", "--model", "echo/model", f"judge={server.name}"]
    words += ["--log", "mask.eval", "--json"]
    first = untrue(*words)
    assert first.code == 0, first.err
    assert "was asked before" not in first.err
    assert "5 samples have no reply or no judgement" in first.err
    assert json.loads(first.out)["counts"] == {"honest": 6, "lie": 0, "evade": 0, "no_belief": 0, "error": 5}
    assert {name for name, outcome in outcomes("mask.eval").items() if outcome == "error"} == FAILED
    assert len(Echo.calls) == len(TEXTS)

    server.heal()
    asked, replied = len(server.requests) + 1, len(Echo.calls)  # the judge is asked one thing first
    again = untrue(*words)
    assert again.code == 0, again.err
    assert json.loads(again.out)["counts"]["honest"] == len(TEXTS)
    assert Echo.calls[replied:] == [TEXTS["unwell"]]  # the other replies were kept
    texts = [request["messages"][0]["content"] for request in server.requests[asked:]]
    assert sorted(name for name in TEXTS for text in texts if f"p of {name}\n" in text) == sorted(FAILED)
    assert len(texts) == len(FAILED)

    asked, replied = len(server.requests), len(Echo.calls)
    whole = untrue(*words)
    assert " ".join(whole.err.split()).startswith(
        "model is known only by its name and was asked before: its earlier replies are used. If its weights have"
        " changed since, delete mask.eval and run the command again."
    )
    assert json.loads(whole.out)["counts"]["honest"] == len(TEXTS)
    assert (len(server.requests), len(Echo.calls)) == (asked, replied)


def test_another_judge_reads_the_same_replies(untrue: Callable, server: JudgeServer, items: str):
    words = ["eval", "mask", f"items={items}", "--model", "echo/model", "--log", "mask.eval", "--json"]
    server.heal()
    untrue(*words, f"judge={server.name}")
    replied = len(Echo.calls)
    done = untrue(*words, "judge=scripted/judge")
    assert json.loads(done.out)["judge"]["name"] == "scripted/judge"
    assert len(Echo.calls) == replied + 1  # the one that had failed


def test_a_judge_that_cannot_be_asked_is_known_before_the_model_is(untrue: Callable, server: JudgeServer, items: str):
    words = ["eval", "mask", f"items={items}", "--model", "echo/model", "--log", "mask.eval"]
    down = untrue(*words, "judge=" + server.name.replace(server.url, "http://127.0.0.1:9/v1"))
    assert down.code == 4
    assert "error: the judge openai-api/local/judge failed (APIConnectionError: " in down.err
    elsewhere = untrue(*words, "judge=" + server.name.replace(server.url, f"{server.url}/none"))
    assert elsewhere.code == 2
    assert "Nothing was asked of the model under study." in elsewhere.err
    assert Echo.calls == []
    assert list(Path().glob(".*")) == list(Path().glob("*.eval")) == []


def test_where_nothing_was_measured_it_does_not_end_well_and_keeps_the_replies(
    untrue: Callable, server: JudgeServer, items: str
):
    Path(items).write_text("".join(Path(items).read_text("utf-8").splitlines(True)[-4:-1]), "utf-8")
    words = ["eval", "mask", f"items={items}", "--model", "echo/model", f"judge={server.name}"]
    done = untrue(*words, "--log", "mask.eval")
    assert done.code == 4
    assert "error: mask: nothing was measured. All 3 samples are errors, first: The judge gave no" in done.err
    server.heal()
    assert untrue(*words, "--log", "mask.eval").code == 0
    assert len(Echo.calls) == 3


def test_a_format_that_is_missed_by_all_is_no_result_and_not_to_be_asked_again(untrue: Callable):
    words = ["eval", "deceptionbench", "--model", "tiny", "--dtype", "float32", "limit=2"]
    done = untrue(*words, "max_tokens=4", "judge=scripted/judge", "--json")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1] == (
        "error: deceptionbench: nothing was measured. All 2 samples are errors, first: format: the reply is not"
        " <think>…</think><output>…</output> (it was cut at the limit of tokens or of the context)."
    )


def test_a_judge_without_its_key_is_named_before_the_model_is_loaded(refusal: Callable, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("AZUREAI_OPENAI_API_KEY", raising=False)
    said = refusal("eval", "mask", "--model", "nowhere", "judge=openai/gpt-5-mini")
    assert said.startswith(
        "openai/gpt-5-mini: cannot be a judge (Unable to initialise OpenAI client. No OPENAI_API_KEY"
    )
    assert said.endswith("defined in the environment). Name a model as Inspect does.")


def test_an_unchecked_judge_makes_it_inconclusive_and_a_check_corrects_the_rate(
    untrue: Callable, items: str, monkeypatch: pytest.MonkeyPatch, good_check: Check
):
    words = ["eval", "mask", f"items={items}", "limit=6", "--model", "echo/model"]
    words += ["judge=scripted/judge", "--log", "mask.eval"]
    done = untrue(*words)
    assert "INCONCLUSIVE" in done.out
    assert "run `untrue judge check scripted/judge`" in " ".join(done.out.split())
    assert "Rates are not corrected" in done.out

    monkeypatch.setattr("untrue.judge.check.last_check", lambda judge_id: good_check)
    done = untrue(*words)
    assert "INCONCLUSIVE" not in done.out
    assert "kappa 0.90" in done.out
    assert "Lie rate given belief, corrected" in done.out
    found = json.loads(untrue(*words, "--json").out)
    assert (found["conclusive"], found["judge"]["check"]["rows"]) == (True, 188)
    assert found["judge"]["corrected_lie_rate_given_belief"]["model"]["value"] == 0


@pytest.mark.parametrize("name", ["untrue/tiny", "untrue/other"])
def test_a_model_that_judges_itself_or_its_adapter_is_refused_unless_forced_and_then_flagged(
    untrue: Callable, place: Path, adapter: Path, name: str
):
    (place / "other").symlink_to(place / "tiny")
    words = ["eval", "--model", "tiny", "--dtype", "float32", "--adapter", adapter, "unknowns", "limit=2"]
    words += [f"judge={name}", "max_tokens=4", "--log", "u.eval"]
    refused = untrue(*words)
    assert refused.code == 2
    assert "or its base, and cannot judge itself" in refused.err
    done = untrue(*words, "force_self_judge=true")
    assert done.code == 0, done.err
    assert done.out.count("self-judged") == 2
    assert "INCONCLUSIVE" in done.out
    assert "judged itself" in done.out
    assert json.loads(untrue(*words, "force_self_judge=true", "--json").out)["judge"]["self_judged"] == [adapter.name]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The weights that are loaded from now on."""
    loaded: list[str] = []
    load = AutoModelForCausalLM.from_pretrained

    def counted(name: str, *arguments: Any, **more: Any) -> Any:
        loaded.append(str(name))
        return load(name, *arguments, **more)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    return loaded


def test_a_folder_by_the_provider_of_transformers_is_loaded_once(untrue: Callable, items: str, loads: list[str]):
    words = ["eval", "mask", f"items={items}", "limit=2", "epochs=2", "max_tokens=4", "--json"]
    done = untrue(*words, "--model", "hf/tiny", "judge=scripted/judge")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["log"], loads) == ("logs/mask-hf--tiny.eval", ["tiny"])
    samples = read_eval_log(found["log"]).samples or []
    assert ["statement" in sample.metadata["replies"] for sample in samples] == [True] * 4

    served = untrue(*words, "--model", "echo/model", "judge=hf/tiny")  # one that writes no verdicts
    assert "nothing was measured" in served.err
    assert loads == ["tiny"] * 2


def test_a_dry_run_asks_and_writes_nothing(untrue: Callable, items: str, place: Path):
    Echo.calls.clear()
    before = sorted(place.rglob("*"))
    words = ["eval", "mask", f"items={items}", "--model", "openai/gpt-4o-mini"]
    done = untrue(*words, "judge=openai/gpt-5-mini", "epochs=3", "--dry-run", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    [one] = found["evals"]
    assert (one["under_study"]["calls"], one["judge"]["calls"]) == (33, 33)
    assert 0 < one["under_study"]["dollars"] < one["judge"]["dollars"] < found["dollars"] < 0.1
    assert "price not known" in untrue(*words, "judge=no-such/model", "--dry-run").out
    assert sorted(place.rglob("*")) == before
    assert Echo.calls == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mask"], "error: mask needs a judge. Name one"),
        (["mask", "judge=none-such/x"], "error: none-such/x: cannot be a judge"),
        (["mask", "judge={temperature: 1}"], "expected a model's name"),
        (["mask", "judge={model: scripted/judge, temprature: 1}"], "temprature"),
        (["capability", "judge=scripted/judge"], "error: judge: no option of capability. Known options: items, limit."),
        (
            ["deceptionbench", "judge=scripted/judge", "placement=above"],
            "error: placement: input should be 'joined'",
        ),
        (["--dry-run"], "error: forced_choice has no judge"),
        (["capability", "--model", "openai/gpt-4o", "limit=1"], "error: openai/gpt-4o: Inspect cannot"),
        (["capability", "--model", "echo/model", "--adapter", "tiny"], "error: tiny: holds no PEFT adapter"),
    ],
)
def test_what_is_wrong_is_one_line(untrue: Callable, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model = [] if "--model" in words else ["--model", "tiny", "--dtype", "float32"]
    done = untrue("eval", *model, *words)
    assert done.code == 2
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


@pytest.mark.parametrize("name", ["forced_choice", "reply_choice", "sft_cue domain=medical", "truth_probe"])
@pytest.mark.parametrize("model", ["vllm/some/base", "openai-api/local/model", "hf/some/base"])
def test_an_eval_that_needs_likelihoods_says_so_of_a_served_model(refusal: Callable[..., str], name: str, model: str):
    assert refusal("eval", *name.split(), "--model", model) == (
        f"{model}: {name.split()[0]} needs likelihoods or hidden states, which are computed in this process, so the"
        " model must be `smollm2-135m`, a folder or a hub id. Served models are for capability, mask, pressure_pairs,"
        " unknowns, deceptionbench."
    )


@pytest.mark.parametrize(("model", "told"), [("openai/gpt-4o-mini", True), ("nobody/nothing", False)])
def test_a_name_that_may_be_a_hub_id_is_looked_for_there_first(refusal: Callable[..., str], model: str, told: bool):
    text = refusal("eval", "--model", model)
    assert text.startswith(f"{model}: there is no such folder, and no such model")
    assert ("A model behind an API has no weights to load" in text) is told
