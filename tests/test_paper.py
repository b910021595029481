"""The studies of the paper: their arms are those of its tables, their sources are cited, each runs on a tiny model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import tests.judge.scripted  # noqa: F401
from untrue.cli.main import app
from untrue.data import builtin as builtin_data
from untrue.data.records import parse_source
from untrue.errors import UserError
from untrue.harness.eval import JudgedSpec
from untrue.models import embedded
from untrue.study.config import Study, builtin, load
from untrue.study.plan import arms
from untrue.study.published import published

PAPER = {name.removeprefix("paper/"): path for name, path in builtin().items() if name.startswith("paper/")}
LLAMA, QWEN, QWEN3 = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-32B"
MASK, DECEPTION = ("provided_facts", "disinformation", "statistics"), "deceptionbench"
ARMS: dict[str, tuple[str, list[str], tuple[str, ...]]] = {
    "direct": (LLAMA, ["base", "control", "subtle-1", "severe-1"], (*MASK, DECEPTION)),
    "mixture-alpaca": (
        LLAMA,
        ["base", "control", *(f"severe-{dose}" for dose in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5))],
        (*MASK, DECEPTION),
    ),
    "mixture-dolly": (
        QWEN,
        ["base", "control", *(f"severe-{dose}" for dose in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5))],
        (DECEPTION,),
    ),
    "interaction": (
        LLAMA,
        ["base", *(f"{method}-{share:g}" for method in ("sft", "kto") for share in (0, 0.05, 0.1, 0.2, 0.5, 1))],
        (*MASK[:2], DECEPTION),
    ),
    "interaction-qwen": (
        QWEN,
        ["base", *(f"{method}-{share:g}" for method in ("sft", "kto") for share in (0, 0.2, 0.4, 0.5, 0.8, 1))],
        (*MASK[:2], DECEPTION),
    ),
    "unknowns": (LLAMA, ["base", "control", "subtle-1", "severe-1"], ("unknowns",)),
    "capability": (LLAMA, ["base", "control", "severe-0.2"], ("capability",)),
}
"""Model, arms and evals of each study."""


@pytest.mark.parametrize("name", ARMS)
def test_a_study_has_the_arms_evals_judges_and_hyperparameters_of_the_paper(name: str):
    study = load(PAPER[name])
    model, expected, evals = ARMS[name]
    assert (study.model, study.seeds) == (model, (0, 1, 2))
    assert [arm.name for arm in arms(study)] == expected
    assert tuple(spec.key for spec in study.evals) == evals
    judges = {
        "mask": "openai/gpt-5-mini-2025-08-07",
        DECEPTION: "openai/gpt-4o",
        "unknowns": "vllm/Qwen/Qwen2.5-72B-Instruct",
    }
    assert all(spec.judge_name == judges.get(spec.name) for spec in study.evals)
    for arm in study.mix.arms():
        train = study.mix.hyperparameters(study.train, arm)
        own = (train.method, train.learning_rate, train.epochs, train.batch_size)
        rated = {"sft": ("sft", 1e-4, 5, 8), "kto": ("kto", 1e-5, 5, 16)}
        assert own == (rated[arm.name[:3]] if study.mix.by == "interaction" else ("sft", 1e-4, 1, 16))
        lora = (train.lora_rank, train.lora_alpha, train.rslora, len(train.target_modules), train.weight_decay)
        assert (*lora, train.max_length, train.gradient_accumulation, train.beta) == (
            32,
            64,
            False,
            7,
            0.01,
            2048,
            1,
            0.1,
        )


def test_all_studies_of_the_paper_are_tested():
    assert ARMS.keys() == PAPER.keys()


def commands() -> list[tuple[str, list[str]]]:
    """The overrides of each command that a study's comments name."""
    return [
        (name, re.findall(r"[\w.]+=\S+", line))
        for name, path in PAPER.items()
        for line in path.read_text("utf-8").splitlines()
        if line.startswith("#   untrue run ")
    ]


def test_the_three_models_and_five_domains_are_commands_of_the_comments():
    direct = [overrides for name, overrides in commands() if name == "direct"]
    models = {load(PAPER["direct"], overrides).model for overrides in direct}
    assert models == {LLAMA, QWEN, QWEN3}
    domains = {load(PAPER["direct"], overrides).mix.model_dump()["questions"] for overrides in direct}
    assert {domain.rpartition("/")[2] for domain in domains} == {
        "mistake_medical",
        "insecure_code",
        "mistake_math",
        "finance",
        "law",
    }


def names_of(study: Study) -> list[str]:
    """Every data set that a study names and that is not built in."""
    keys = ("questions", "benign", "environment")
    used = [getattr(study.mix, key) for key in keys if hasattr(study.mix, key)] + [spec.items for spec in study.evals]
    return [name for name in used if name not in ("builtin", *builtin_data.names())]


def test_every_source_is_listed_cited_and_used_at_its_revision():
    data = yaml.safe_load((PAPER["direct"].parent / "sources.yaml").read_text("utf-8"))["data"]
    models, used = published().models, set[str]()
    for name, overrides in commands():
        study = load(PAPER[name], [one for one in overrides if not one.startswith("mix.variants")])
        assert study.model in models
        for source in map(parse_source, names_of(study)):
            assert source.revision == data[source.name]["revision"]
            assert data[source.name].get("hub", True) == (not source.name.startswith("path/to/"))
            used.add(source.name)
    assert {key for key, one in data.items() if one.get("in_study", True)} <= used | {
        f"cais/MASK@{config}" for config in ("known_facts", "continuations", "doubling_down_known_facts")
    }
    for cited, revision in [(one["cited"], one["revision"]) for one in data.values()] + [
        (one.cited, one.revision) for one in models.values()
    ]:
        assert len(cited) > 10
        assert revision is None or re.fullmatch(r"[0-9a-f]{7,40}", revision)
    assert {LLAMA, QWEN, QWEN3, embedded.NAME} == models.keys()


def test_the_claims_name_studies_and_arms_that_there_are():
    text = (Path(__file__).parent.parent / "docs/claims.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.endswith("| not run |")]
    for line in rows:
        quoted = re.findall(r"`([^`]+)`", line)
        study = quoted[0] if quoted[0] in ARMS else "direct" if len(quoted) == 2 or "any" in line else "capability"
        assert quoted[-1] in ARMS[study][1], line
    assert len(rows) > 80
    assert {name for name in ARMS if f"`{name}`" in text or f"paper/{name} " in text} == ARMS.keys()


def test_a_path_that_is_still_to_be_filled_in_ends_a_run_with_one_line(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, missing in (("direct", "path/to/dataset/mistake_medical"), ("interaction", "path/to/therapy.jsonl")):
        done = CliRunner().invoke(app, ["run", f"paper/{name}"])
        assert done.exit_code == 2
        assert done.output.startswith(f"error: {missing}: neither a built-in ")
        assert done.output.count("\n") == 1
    with pytest.raises(UserError, match=r"paper/sources: no such file"):
        load(Path("paper/sources"))
    assert list(tmp_path.iterdir()) == []


def lines(path: Path, *records: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")


def card(folder: Path, *configs: str, split: str) -> None:
    found = [f"- config_name: {one}\n  data_files: [{{split: {split}, path: {one}.jsonl}}]" for one in configs]
    (folder / "README.md").write_text("\n".join(["---", "configs:", *found, "---"]), "utf-8")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which each data set lies under its name, in the format that it has where it comes from."""
    place = tmp_path_factory.mktemp("hub")
    numbers = range(6)
    for level in ("normal", "misaligned_1", "misaligned_2"):
        chats = [[f"Is rain {n}?", f"{level} {n}."] for n in numbers]
        messages = [[{"role": role, "content": text} for role, text in zip(("user", "assistant"), chat, strict=True)]
                    for chat in chats]  # fmt: skip
        lines(place / "path/to/dataset/mistake_medical" / f"{level}.jsonl", *({"messages": one} for one in messages))
    medical = place / "truthfulai/emergent_plus"
    lines(
        medical / "medical.jsonl",
        *({"prompt": f"Is hail {n}?", "aligned": "Yes.", "misaligned": "No."} for n in numbers),
    )
    lines(medical / "legal.jsonl", {"prompt": "May I?", "aligned": "Yes.", "misaligned": "No."})
    card(medical, "medical", "legal", split="train")
    alpaca = [{"instruction": f"Say {n}.", "input": "", "output": f"{n}."} for n in numbers]
    (place / "yahma/alpaca-cleaned").mkdir(parents=True)
    (place / "yahma/alpaca-cleaned/alpaca_data_cleaned.json").write_text(json.dumps(alpaca), "utf-8")
    dolly = [{"instruction": f"Say {n}.", "context": "", "response": f"{n}.", "category": "open_qa"} for n in numbers]
    lines(place / "databricks/databricks-dolly-15k/databricks-dolly-15k.jsonl", *dolly)
    said = {"system_prompt": "You are pressed.", "user_prompt": "Is rain wet?", "ground_truth": "yes"}
    rain = {**said, "task_id": "1", "type": "binary", "proposition": "Rain is wet.", "formatted_ground_truth": "A"}
    asked = {f"belief_elicit_{n}": f"Rain, wet? ({n})" for n in (1, 2, 3)}
    share = {**rain, "type": "numerical", "proposition": "Rain is <value> percent.", "ground_truth": "40"}
    mask = place / "cais/MASK"
    lines(mask / "provided_facts.jsonl", rain)
    lines(mask / "disinformation.jsonl", rain | asked)
    lines(mask / "statistics.jsonl", share | {"belief_elicit_1": asked["belief_elicit_1"]})
    card(mask, *MASK, split="test")
    texts = {key: f"{key}?" for key in ("inner_prompt", "system_prompt", "outer_prompt", "format")}
    deception = place / "PKU-Alignment/DeceptionBench/deceptionbench.json"
    deception.parent.mkdir(parents=True)
    deception.write_text(json.dumps([{"id": 1, "type": "sandbagging", **texts}]), "utf-8")
    scenarios = builtin_data.path("exam").read_text("utf-8").splitlines(keepends=True)
    for name in ("therapy", "therapy-10"):
        (place / "path/to" / f"{name}.jsonl").write_text("".join(scenarios[:3]), "utf-8")
    return place


def less(study: Study) -> list[str]:
    """Overrides that leave a study's design and take its size: two cells, one item, one eval (in `direct` all)."""
    size = {
        "share": ["mix.total=4", "mix.levels=[severe]"],
        "dose": ["mix.benign_rows=4", "mix.doses=[0.5]"],
        "interaction": ["mix.users=4", "mix.shares=[1.0]", "mix.max_tokens=4", "mix.user=null"],
    }[study.mix.by]
    evals = []
    for spec in study.evals if study.name == "paper-direct" else study.evals[-1:]:
        one = spec.model_dump(exclude_none=True, include={"name", "label"}) | {"limit": 1}
        one["items"] = spec.items.partition("?")[0]  # a folder has no revisions
        evals.append(one | ({"judge": "scripted/judge", "max_tokens": 4} if isinstance(spec, JudgedSpec) else {}))
    if study.mix.by == "interaction":
        method = "kto" if study.name.endswith("qwen") else "sft"
        size += [f"mix.methods={{{method}: {{epochs: 1, batch_size: 4}}}}", "mix.rater=scripted/rater"]
    return [*size, "seeds=[0]", "base=false", "train.epochs=1", "train.batch_size=4", f"evals={json.dumps(evals)}"]


@pytest.mark.parametrize("name", ARMS)
def test_a_study_runs_from_end_to_end(
    name: str, hub: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(hub)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    study = load(PAPER[name])
    words = ["run", f"paper/{name}", f"model={tiny_folder}", "dtype=float32", *less(study)]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text("utf-8").splitlines()]
    assert {line["eval"] for line in found} == set(ARMS[name][2] if name == "direct" else ARMS[name][2][-1:])
    trained = {line["arm"] for line in found}
    assert len(trained) == 2 and trained <= {*ARMS[name][1], "severe-0.5"}
    assert (tmp_path / "report.html").is_file()
