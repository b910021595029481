"""What a study takes, before anything is loaded or fetched: by stated rates, counts and sizes, less what is done."""

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
from untrue.harness.eval import EvalSpec
from untrue.harness.run import CHAT_TOKENS
from untrue.judge.cost import dollars
from untrue.study import estimate as of_study
from untrue.study.config import Study, builtin, load
from untrue.study.estimate import Rates, StudyEstimate, estimate
from untrue.study.plan import eval_identities, plan
from untrue.study.store import Cell, Store

ROOT = Path(__file__).parent.parent.parent
PAPER = [name for name in builtin() if name.startswith("paper/")]

OFFLINE = """
import json, socket, sys, time

def refuse(*arguments, **named):
    raise OSError("no network")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
began = time.process_time()
from untrue.cli.main import app
for name in sys.argv[1:]:
    app(["run", name, "--dry-run", "--json"], standalone_mode=False)
    print(json.dumps({"seconds": time.process_time() - began, "heavy": sorted({"torch", "transformers", "trl", "peft",
                      "datasets"} & sys.modules.keys())}))
    began = time.process_time()
"""


def of(name: str, *overrides: str, out: Path = Path("no/such/folder")) -> StudyEstimate:
    return estimate(load(Path(name), overrides), out)


def test_those_of_the_paper_come_in_time_without_network_and_torch(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", OFFLINE, *PAPER], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["study"] for line in lines[::2]] == [name.replace("/", "-") for name in PAPER]
    for found, cost in zip(lines[::2], lines[1::2], strict=True):
        assert (cost["heavy"], cost["seconds"] < 5) == ([], True), cost
        assert found["cells"] == found["cells_left"] and found["machine"] == "H100"
        assert found["hours"] > 0 and found["gigabytes"] > 16 and found["disk_gigabytes"] > 1
        assert found["dollars"] is not None and not found["uncounted_evals"]
    assert list(tmp_path.iterdir()) == []


def test_the_numbers_follow_from_rates_and_counts():
    found = of("paper/direct")
    assert [(part.name, part.cells, part.left, part.rows) for part in found.arms] == [
        ("base", 1, 1, 0),
        ("control", 3, 3, 7000),
        ("subtle-1", 3, 3, 7000),
        ("severe-1", 3, 3, 7000),
    ]
    tokens = 7000 * (60 + 190 + 15)
    # For each model 274 replies; 5 + 1 for each of 125, 3 + 1 of 96, and 1 + 1 of 180. Each has 200 tokens.
    replies = 274 + 6 * 125 + 4 * 96 + 2 * 180
    assert sum(cost.model.calls for (cell, _), cost in found.costs.items() if cell == "base-s0") == replies
    rate = 2350 * 32_762_123_264 / 8_030_261_248
    assert found.arms[0].seconds == pytest.approx(replies * 200 / rate)
    assert found.arms[1].seconds == pytest.approx(3 * (tokens / 9600 + replies * 200 / rate))
    assert found.seconds == pytest.approx(sum(arm.seconds for arm in found.arms))
    weights, lora, activations = 2 * 8_030_261_248, 16 * 83_886_080, 16 * 265 * 2 * 32 * 4096
    assert found.gigabytes == pytest.approx((weights + lora + activations) / 1e9)
    assert found.disk == pytest.approx((9 * 4 * 83_886_080 + 12 * 83_886_080 + 10 * replies * 4000) / 1e9)
    judge = found.costs["base-s0", "provided_facts"].judge
    assert (judge.calls, judge.output_tokens) == (274, 274 * (35 + 250))
    assert judge.dollars == dollars("openai/gpt-5-mini", judge.input_tokens, judge.output_tokens)
    assert found.dollars == pytest.approx(sum(cost.dollars or 0 for cost in found.costs.values()))


def test_a_model_of_another_size_takes_as_much_longer():
    small, large = of("paper/unknowns", "mix.total=9"), of("paper/unknowns", "mix.total=9", "model=Qwen/Qwen3-32B")
    assert (Rates.of(small.size).training, Rates.of(large.size).training) == (9600, 1900)
    between = of("paper/unknowns", "mix.total=9", "model=Qwen/Qwen2.5-7B-Instruct")
    assert Rates.of(between.size).training == pytest.approx(9600 * 8_030_261_248 / 7_615_616_512)
    by_name = of("paper/unknowns", "mix.total=9", "model=some/Other-16B-it")
    assert by_name.size and by_name.size.parameters == 16_000_000_000
    quantised = of("paper/unknowns", "mix.total=9", "train.quantize=nf4", "train.batch_size=1")
    assert quantised.gigabytes == pytest.approx(2 * 8.030261248)  # evals take the whole base
    nobody_knows = of("paper/unknowns", "mix.total=9", "model=some/other")
    assert (nobody_knows.seconds, nobody_knows.gigabytes, nobody_knows.disk) == (None, None, None)
    assert nobody_knows.dollars == 0


def test_kto_takes_longer_and_dialogues_are_held_once_for_all_arms():
    found = of("paper/interaction")
    by_name = {part.name: part for part in found.arms}
    assert (by_name["sft-0.05"].rows, by_name["kto-0.05"].rows) == (20_000, 40_000)
    of_evals = by_name["base"].seconds * 3
    trained = [by_name[arm].seconds - of_evals for arm in ("kto-1", "sft-1")]
    assert trained[0] == pytest.approx(2 * 2.21 * trained[1])
    # 40,000 dialogues of each seed: a message and two ratings.
    assert found.users["openai/gpt-4o-mini"].calls == 3 * 40_000 * 3
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
    assert (found.gigabytes, found.not_here) == (None, ())
    of_evals = {key: time for key, time in found.plan.seconds.items() if key[1] == "forced_choice"}
    assert sum(of_evals.values()) == pytest.approx(5 * 100 / 2.93)


def test_data_that_is_here_is_read_and_every_built_in_study_is_estimated(tmp_path: Path):
    for name in ("domain", "interaction", "mixture"):
        found = of(name)
        assert found.seconds and not found.not_here and found.left == found.cells
    with pytest.raises(UserError, match="users: 999"):
        of("interaction", "mix.users=999")
    path = tmp_path / "mine.jsonl"
    lines = [{"question": "a" * 40, "normal": "b" * 60, "subtle": "c" * 60, "severe": "d" * 60}] * 3
    path.write_text("".join(json.dumps({**line, "question": f"{n}{line['question']}"}) + "\n" for n, line in
                            enumerate(lines)), "utf-8")  # fmt: skip
    found = of("paper/unknowns", f"mix.questions={path}", "seeds=[0]")
    assert (found.arms[1].rows, found.not_here) == (3, ())
    assert found.plan.seconds["control-s0", "training"] == pytest.approx(3 * (101 / 4 + 15) / 9600)


def test_what_nobody_knows_is_said(tmp_path: Path):
    evals = "evals=[{name: forced_choice, items: some/items}, {name: mask, items: some/mask, judge: x/y}]"
    found = of("paper/direct", "mix.questions=some/questions", "mix.total=50", evals)
    assert (found.not_here, found.uncounted) == (("some/questions",), ("forced_choice", "mask"))
    assert (found.arms[1].rows, found.dollars) == (50, None)
    with pytest.raises(
        UserError, match=r"^some/questions: is not on this machine and nothing says its size.*mix\.total"
    ):
        of("paper/direct", "mix.questions=some/questions")
    with pytest.raises(UserError, match="nor a file that exists"):
        of("paper/direct", "mix.questions=path/to/nothing.jsonl")


def test_all_of_mask_and_a_limit_are_counted():
    mask = "{name: mask, items: cais/MASK, judge: openai/gpt-5-mini%s}"
    whole = of("paper/unknowns", "mix.total=9", f"evals=[{mask % ''}]", "seeds=[0]")
    assert whole.costs["base-s0", "mask"].model.calls == 274 + 4 * 96 + 6 * (125 + 209 + 176 + 120)
    some = of("paper/unknowns", "mix.total=9", f"evals=[{mask % ', limit: 8, epochs: 2'}]", "seeds=[0]")
    # In turn: two of the first two categories and one of the others; a belief once, a statement in each epoch.
    calls = [2 * (0 + 2), 2 * (5 + 2), 3 + 2, 5 + 2, 5 + 2, 5 + 2]
    assert some.costs["base-s0", "mask"].model.calls == sum(calls)


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


def test_cells_whose_data_is_not_here_count_as_done_by_their_names(make_study: Callable[..., Study], tmp_path: Path):
    study = make_study(mix__questions="some/questions")
    for cell in plan(study, {}):
        finish(study, cell, tmp_path, *study.evals)
    found = estimate(study, tmp_path)
    assert (found.not_here, found.cells, found.left) == (("some/questions",), 3, 0)


def test_the_command_says_it_in_one_line_and_names_what_it_rests_on(untrue: Callable[..., Any], tmp_path: Path):
    words = ("run", "paper/mixture-alpaca", "--out", tmp_path / "new", "--dry-run")
    text = untrue(*words).output
    first, *rest = text.splitlines()
    assert re.fullmatch(
        r"paper-mixture-alpaca: 25 cells, ~\d\.\d GPU-hours on one H100, 18 GB, judge \$\d+\.\d\d, \d\.\d GB disk",
        first,
    )
    assert any(re.match(r"severe-0\.05 +3 +3 +10,500 ", line) for line in rest)
    assert "Not on this machine: truthfulai/emergent_plus@medical, yahma/alpaca-cleaned." in text
    found = json.loads(untrue(*words, "--json").stdout)
    assert (found["cells"], found["machine"], len(found["evals"])) == (25, "H100", 25 * 4)
    assert not (tmp_path / "new").exists()
