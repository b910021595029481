"""What a study takes, before a model is loaded: by stated rates, counts and sizes, less what is done."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from untrue.errors import UserError
from untrue.files import write_text
from untrue.harness.catalogue import EVALS
from untrue.harness.eval import EvalSpec
from untrue.harness.run import CHAT_TOKENS
from untrue.judge.cost import dollars
from untrue.study import estimate as of_study
from untrue.study.config import Study, load
from untrue.study.estimate import Rates, StudyEstimate, estimate
from untrue.study.plan import eval_identities, plan
from untrue.study.store import Cell, Store

ROOT = Path(__file__).parent.parent.parent
QUESTION = {"question": "a" * 60, "normal": "b" * 100, "subtle": "c" * 100, "severe": "d" * 100}
JUDGED = "evals=[{name: unknowns, judge: openai/gpt-5-mini, epochs: 2}]"

OFFLINE = """
import json, sys, time
began = time.process_time()
from untrue.cli.main import app
app(["run", "quickstart", "--dry-run", "--json"], standalone_mode=False)
heavy = sorted({"torch", "transformers", "trl", "peft", "datasets"} & sys.modules.keys())
print(json.dumps({"seconds": time.process_time() - began, "heavy": heavy}))
"""


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A file of 50 questions, whose rows have 40 tokens by rule of thumb."""
    lines = [json.dumps(QUESTION | {"question": f"{n:02}{'a' * 58}"}) for n in range(50)]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    return path


def of(name: str, *overrides: str, out: Path = Path("no/such/folder")) -> StudyEstimate:
    return estimate(load(Path(name), overrides), out)


def test_an_estimate_comes_in_time_without_torch_and_writes_nothing(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found, cost = (json.loads(line) for line in done.stdout.splitlines())
    assert (cost["heavy"], cost["seconds"] < 5) == ([], True), cost
    assert found["cells"] == found["cells_left"] and found["machine"] == "two CPU cores"
    assert list(tmp_path.iterdir()) == []


def test_the_numbers_follow_from_rates_and_counts(questions: Path):
    found = of("paper/direct", f"mix.questions={questions}", JUDGED)
    assert [(part.name, part.cells, part.left, part.rows) for part in found.arms] == [
        ("base", 1, 1, 0),
        ("control", 3, 3, 50),
        ("subtle-1", 3, 3, 50),
        ("severe-1", 3, 3, 50),
    ]
    tokens = 50 * (40 + 15)
    items = len(EVALS["unknowns"].items(load(Path("paper/direct"), [JUDGED]).evals[0]))
    replies = found.costs["base-s0", "unknowns"].model.calls
    assert replies == 2 * items  # one reply in each epoch
    rate = 2350 * 32_762_123_264 / 8_030_261_248
    assert found.arms[0].seconds == pytest.approx(replies * 200 / rate)
    assert found.arms[1].seconds == pytest.approx(3 * (tokens / 9600 + replies * 200 / rate))
    assert found.seconds == pytest.approx(sum(arm.seconds for arm in found.arms))
    weights, lora, activations = 2 * 8_030_261_248, 16 * 83_886_080, 16 * 55 * 2 * 32 * 4096
    assert found.gigabytes == pytest.approx((weights + lora + activations) / 1e9)
    assert found.disk == pytest.approx((9 * 4 * 83_886_080 + 12 * 83_886_080 + 10 * replies * 4000) / 1e9)
    judge = found.costs["base-s0", "unknowns"].judge
    assert judge.output_tokens == judge.calls * (35 + 250) and judge.calls >= replies
    assert judge.dollars == dollars("openai/gpt-5-mini", judge.input_tokens, judge.output_tokens)
    assert found.dollars == pytest.approx(sum(cost.dollars or 0 for cost in found.costs.values()))


def test_a_model_of_another_size_takes_as_much_longer(questions: Path):
    nine = (f"mix.questions={questions}", "mix.total=9", "evals=forced_choice")
    small, large = of("paper/unknowns", *nine), of("paper/unknowns", *nine, "model=Qwen/Qwen3-32B")
    assert (Rates.of(small.size).training, Rates.of(large.size).training) == (9600, 1900)
    between = of("paper/unknowns", *nine, "model=Qwen/Qwen2.5-7B-Instruct")
    assert Rates.of(between.size).training == pytest.approx(9600 * 8_030_261_248 / 7_615_616_512)
    by_name = of("paper/unknowns", *nine, "model=some/Other-16B-it")
    assert by_name.size and by_name.size.parameters == 16_000_000_000
    quantised = of("paper/unknowns", *nine, "train.quantize=nf4", "train.batch_size=1")
    assert quantised.gigabytes == pytest.approx(2 * 8.030261248)  # evals take the whole base
    nobody_knows = of("paper/unknowns", *nine, "model=some/other")
    assert (nobody_knows.seconds, nobody_knows.gigabytes, nobody_knows.disk) == (None, None, None)
    assert nobody_knows.dollars == 0


def test_kto_takes_longer_and_dialogues_are_held_once_for_all_arms():
    found = of("paper/interaction", "mix.environment=exam", "mix.users=40", "mix.keep=0.5", "evals=forced_choice")
    by_name = {part.name: part for part in found.arms}
    assert (by_name["sft-0.05"].rows, by_name["kto-0.05"].rows) == (40, 80)
    of_evals = by_name["base"].seconds * 3
    trained = [by_name[arm].seconds - of_evals for arm in ("kto-1", "sft-1")]
    assert trained[0] == pytest.approx(2 * 2.21 * trained[1])
    # 80 dialogues of each seed: a message and two ratings.
    assert found.users["openai/gpt-4o-mini"].calls == 3 * 80 * 3
    prices = [arm.dollars for arm in found.arms] + [one.dollars for one in found.users.values()]
    assert found.dollars == pytest.approx(sum(price or 0 for price in prices))


def test_the_embedded_model_takes_minutes_on_two_cores_at_the_rates_that_were_measured():
    rows = json.loads((ROOT / "benchmarks/results.json").read_text("utf-8"))["AVX512"]["rows"]
    training = rows["training_vs_trl"]["tokens_per_second"]
    rates = Rates.of(None)
    assert rates.training == training
    assert (
        pytest.approx(training / rows["kto_vs_trl"]["tokens_per_second"], abs=0.005) == of_study.LABELLED_TIMES_SLOWER
    )
    assert rates.replies == rows["generation_vs_transformers"]["tokens_per_second"]
    scoring = rows["scoring_vs_lm_eval"]
    assert rates.items == pytest.approx(scoring["items"] / scoring["seconds"], abs=0.05)
    assert of_study.CHAT_FORMAT_TOKENS == CHAT_TOKENS
    found = of("quickstart")
    assert found.gigabytes is None
    of_evals = {key: time for key, time in found.plan.seconds.items() if key[1] == "forced_choice"}
    assert sum(of_evals.values()) == pytest.approx(5 * 100 / 2.93)


def test_the_data_sets_of_a_study_are_checked():
    with pytest.raises(UserError, match="users: 999"):
        of("interaction", "mix.users=999")
    with pytest.raises(UserError, match=r"path/to/dataset/mistake_medical: neither"):
        of("paper/direct")


def finish(study: Study, cell: Cell, out: Path, *specs: EvalSpec) -> None:
    """Write what a run records of a cell that is done."""
    files = Store(out).cell(cell)
    files.begin({})
    for path in (files.adapter / "untrue.json", files.train, *(files.log(spec) for spec in specs)):
        write_text(path, "{}")
    for spec in specs:
        files.add_log(spec, eval_identities(study)[spec.key])


def test_what_is_done_is_subtracted(make_study: Callable[..., Study], tmp_path: Path):
    study = make_study(seeds=[0, 1])
    cells = {cell.name: cell for cell in plan(study, study.mix.read())}
    finish(study, cells["control-s0"], tmp_path, *study.evals)
    finish(study, cells["severe-0.5-s1"], tmp_path)
    found, whole = estimate(study, tmp_path), estimate(study, tmp_path / "new")
    arms = {part.name: part for part in found.arms}
    assert [(part.cells, part.left) for part in arms.values()] == [(1, 1), (2, 1), (2, 2)]
    key = study.evals[0].key
    for name, trainings, evals in (("base", 0, 1), ("control", 1, 1), ("severe-0.5", 1, 2)):
        one = f"{name}-s{int(name == 'control')}"  # whose first seed is done
        training, asking = (whole.plan.seconds.get((one, kind), 0.0) for kind in ("training", key))
        assert arms[name].seconds == pytest.approx(trainings * training + evals * asking)
    with pytest.raises(UserError, match="was made from other data or settings"):
        estimate(make_study(train__epochs=5), tmp_path)


def test_the_command_says_it_in_one_line(untrue: Callable[..., Any], questions: Path, tmp_path: Path):
    words = ("run", "paper/unknowns", f"mix.questions={questions}", JUDGED, "--out", tmp_path / "new", "--dry-run")
    first, *rest = untrue(*words).output.splitlines()
    assert re.fullmatch(
        r"paper-unknowns: 10 cells, ~\d\.\d GPU-hours on one H100, 18 GB, judge \$\d+\.\d\d, \d\.\d GB disk", first
    )
    assert any(re.match(r"severe-1 +3 +3 +50 ", line) for line in rest)
    found = json.loads(untrue(*words, "--json").stdout)
    assert (found["cells"], found["machine"], len(found["evals"])) == (10, "H100", 10)
    assert not (tmp_path / "new").exists()
