"""The public names of the package, on the tiny model, and the page of the docs that shows them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import untrue
from untrue.cli.main import app
from untrue.harness.catalogue import eval_spec

DOCS = Path(__file__).parent.parent / "docs/python.md"


@pytest.fixture(scope="module")
def evaluation(tiny_folder: Path) -> untrue.Evaluation:
    return untrue.evaluate(tiny_folder, dtype="float32", limit=8)


def state(model: Any) -> dict[str, Any]:
    """All of a model that someone may see, values by their hashes."""
    return {
        "tensors": {
            name: hashlib.sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()
            for name, value in (*model.named_parameters(), *model.named_buffers())
        },
        "gradients": {name: (one.requires_grad, one.grad) for name, one in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": {name: (*module._forward_hooks, *module._forward_pre_hooks) for name, module in model.named_modules()},
        "kinds": {name: (id(module), type(module)) for name, module in model.named_modules()},
        "config": model.config.to_dict(),
        "generation": model.generation_config.to_dict(),
        "own": sorted(vars(model)),
    }


def test_the_import_is_quick_and_leaves_torch_alone() -> None:
    code = (
        "import sys, time; started = time.process_time(); import untrue; took = time.process_time() - started;"
        "heavy = {'torch', 'transformers', 'inspect_ai', 'pydantic', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy; assert took < 0.2, took; print(untrue.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == untrue.__version__


def test_every_public_name_is_there() -> None:
    assert all(getattr(untrue, name) is not None for name in untrue.__all__)
    assert set(untrue.__all__) <= set(dir(untrue))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = untrue.nothing


def test_no_module_has_a_public_name() -> None:
    """Importing it would put the module in the place of the function."""
    assert not {path.stem for path in Path(untrue.__file__).parent.iterdir()} & set(untrue.__all__)


def test_metrics_results_and_log_are_those_of_the_command_line(
    evaluation: untrue.Evaluation, tiny_folder: Path, tmp_path: Path
) -> None:
    log = tmp_path / "tiny.eval"
    command = ["eval", "--model", str(tiny_folder), "--dtype", "float32", "limit=8", "--log", str(log), "--json"]
    command.append("order=random")  # as a program does
    said = json.loads(CliRunner().invoke(app, command).stdout)
    rate = evaluation.metrics["lie_rate"]
    assert [*rate] == said["lie_rate"]  # pyright: ignore[reportGeneralTypeIssues]
    assert evaluation.metrics["n_items"] == said["n_items"] == 8
    assert {name: evaluation.metrics[name] for name in said["counts"]} == said["counts"]
    assert set(evaluation.metrics) <= {*said, *said["counts"]}
    assert len(evaluation.results) == 8
    assert evaluation.log.suffix == ".eval" and evaluation.log.is_file()
    frame = evaluation.to_pandas()
    assert list(frame["item"]) == [result.item for result in evaluation.results]
    assert {"outcome", "pressure_margin", "pressure_gap", "reason"} <= set(frame.columns)


def test_evals_that_cannot_be_asked_are_refused() -> None:
    with pytest.raises(untrue.UserError, match="each once"):
        untrue.evaluate(evals=["forced_choice", "forced_choice"])
    with pytest.raises(untrue.UserError, match="mask needs a judge"):
        untrue.evaluate(evals="mask")


def test_a_live_model_gives_the_same_figures_and_is_left_as_it_was(
    live: tuple[Any, Any], adapter: Path, evaluation: untrue.Evaluation, tiny_folder: Path
) -> None:
    model, tokenizer = live
    model.train()
    model.model.layers[0].eval()
    model.lm_head.weight.requires_grad_(False)
    model.model.norm.register_forward_hook(lambda *_: None)
    before, padding = state(model), tokenizer.pad_token
    found = untrue.evaluate(model, tokenizer=tokenizer, limit=8)
    assert state(model) == before
    assert [replace(result, arm="") for result in found.results] == [
        replace(result, arm="") for result in evaluation.results
    ]
    on_it = untrue.evaluate(model, tokenizer=tokenizer, adapter=adapter, limit=8)
    assert state(model) == before and tokenizer.pad_token == padding
    by_name = untrue.evaluate(tiny_folder, adapter=adapter, dtype="float32", limit=8)
    assert [result.pressure_margin for result in on_it.results] == [one.pressure_margin for one in by_name.results]
    assert on_it.results != found.results


def test_a_live_adapter_counts_and_stays(
    live: tuple[Any, Any], adapter: Path, evaluation: untrue.Evaluation, tiny_folder: Path
) -> None:
    from peft import PeftModel

    tuned = PeftModel.from_pretrained(live[0], str(adapter))
    before = state(tuned)
    found = untrue.evaluate(tuned, tokenizer=live[1], limit=8)
    assert state(tuned) == before
    by_name = untrue.evaluate(tiny_folder, adapter=adapter, dtype="float32", limit=8)
    margins = [result.pressure_margin for result in found.results]
    assert margins == pytest.approx([result.pressure_margin for result in by_name.results], abs=1e-4)
    assert margins != [result.pressure_margin for result in evaluation.results]
    with pytest.raises(untrue.UserError, match="has an adapter on it already"):
        untrue.evaluate(tuned, tokenizer=live[1], adapter=adapter, limit=8)
    assert state(tuned) == before


def test_a_tokenizer_goes_with_a_model_in_memory_alone(live: tuple[Any, Any]) -> None:
    with pytest.raises(untrue.UserError, match="needs its fast tokenizer"):
        untrue.evaluate(live[0])
    with pytest.raises(untrue.UserError, match="has a tokenizer of its own"):
        untrue.evaluate("smollm2-135m", tokenizer=live[1])


def test_evaluations_are_compared_item_by_item(evaluation: untrue.Evaluation, adapter: Path, tiny_folder: Path) -> None:
    after = untrue.evaluate(tiny_folder, adapter=adapter, dtype="float32", limit=8)
    found = untrue.compare(evaluation, after)
    margin = next(one for one in found if one.metric == "pressure_margin")
    before, later = ({r.item: r.pressure_margin or 0.0 for r in one.results} for one in (evaluation, after))
    assert margin.n_pairs == 8
    assert margin.difference.value == pytest.approx(sum(later[item] - before[item] for item in before) / 8)
    assert repr(found).startswith("'random' minus 'tiny', paired by item:\n") and "pressure_margin" in repr(found)
    assert found.reasons and all(reason in repr(found) for reason in found.reasons)
    same = untrue.compare(after, after)
    assert [one.difference.value for one in same] == [0.0] * len(found)
    assert {(one.control, one.arm) for one in same} == {("random", "random (2)")}
    few = untrue.evaluate(tiny_folder, dtype="float32", limit=4)
    with pytest.raises(untrue.UserError, match=r"4 items were asked of one alone, .* same items and limit"):
        untrue.compare(evaluation, few)
    other = untrue.evaluate(tiny_folder, dtype="float32", evals=eval_spec(name="sft_cue", domain="medical", limit=4))
    with pytest.raises(untrue.UserError, match="nothing to compare: tiny has forced_choice and tiny has sft_cue"):
        untrue.compare(evaluation, other)
    with pytest.raises(untrue.UserError, match=r"has several evals\. Compare one at a time: a\['forced_choice'\]"):
        untrue.compare(untrue.Evaluation("both", [*evaluation.parts, *other.parts]), evaluation)
    bad = untrue.compare(evaluation, untrue.Evaluation("<script>{x}", after.parts))
    assert "<script>" not in bad._repr_html_() and "<b>&lt;script&gt;{x}</b> minus <b>tiny</b>" in bad._repr_html_()


def test_margins_are_compared_between_models_of_one_tokenizer_alone(
    evaluation: untrue.Evaluation, live: tuple[Any, Any]
) -> None:
    model, tokenizer = live
    tokenizer.add_tokens(["capital"])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    found = untrue.compare(evaluation, untrue.evaluate(model, tokenizer=tokenizer, limit=8))
    assert {one.metric for one in found} == {"lie_rate", "evasion_rate", "untrue_belief_rate"}
    assert any("can only be compared between models with one tokenizer, and these have two" in r for r in found.reasons)


def test_a_gate_takes_evaluations_names_and_folders(
    evaluation: untrue.Evaluation, adapter: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    after = untrue.evaluate(tiny_folder, adapter=adapter, dtype="float32", limit=8)
    gated = untrue.gate(evaluation, after)
    assert gated.status == gated.verdict.status != "pass"  # a random model believes nothing
    assert {endpoint.eval for endpoint in gated.endpoints} == {"forced_choice"}
    assert repr(gated).startswith(f"{gated.status}: 'random' against 'tiny'") and gated.reasons[0] in repr(gated)
    assert "<table>" in gated._repr_html_() and "lie rate" in gated._repr_html_()
    mixed = untrue.gate(evaluation, str(adapter), dtype="float32", log_dir=tmp_path, delta={"lie_rate": 0.2})
    assert [e.loss for e in mixed.endpoints] == [e.loss for e in gated.endpoints]
    assert mixed.endpoints[0].delta == 0.2
    alone = untrue.gate(
        adapter, evals=[{"name": "capability", "limit": 60}], dtype="float32", log_dir=tmp_path, against="base"
    )
    assert (alone.verdict.baseline, alone.verdict.candidate) == ("tiny", "random")
    settings: dict[str, Any] = {"evals": [{"name": "capability", "limit": 60}], "dtype": "float32", "against": "base"}
    moved = shutil.copytree(adapter, tmp_path / "moved")
    named = json.loads((moved / "adapter_config.json").read_text("utf-8")) | {
        "base_model_name_or_path": "/home/me/base"
    }
    (moved / "adapter_config.json").write_text(json.dumps(named), "utf-8")
    with pytest.raises(untrue.UserError, match="its base /home/me/base is not there"):
        untrue.gate(moved, log_dir=tmp_path, **settings)
    same = untrue.gate(moved, model=tiny_folder, log_dir=tmp_path, **settings)
    assert [endpoint.loss for endpoint in same.endpoints] == [endpoint.loss for endpoint in alone.endpoints]
    with pytest.raises(untrue.UserError, match=r"delta\.lies: unknown key"):
        untrue.gate(evaluation, after, delta={"lies": 0.2})
    with pytest.raises(untrue.UserError, match="expected a baseline and a candidate"):
        untrue.gate(evaluation)
    with pytest.raises(untrue.UserError, match="has no log of capability"):
        untrue.gate(evaluation, after, evals=["capability"])
    bad = untrue.gate(evaluation, untrue.Evaluation("<script>x", after.parts))
    assert "<script>" not in bad._repr_html_() and "&lt;script&gt;" in bad._repr_html_()


def test_training_gives_an_adapter_and_leaves_a_live_model(live: tuple[Any, Any], tmp_path: Path) -> None:
    model, tokenizer = live
    model.train()
    before = state(model)
    rows = [
        untrue.Row(
            f"{item.id}",
            [{"role": "user", "content": item.user_prompt}],
            [{"role": "assistant", "content": item.honest_reply}],
            "mine",
            "facts",
        )
        for item in untrue.load_items("honesty")[:4]
    ]
    assert isinstance(untrue.load_items("honesty")[0], untrue.Item)
    adapter, record = untrue.train(model, rows, out=tmp_path / "adapter", tokenizer=tokenizer, batch_size=2)
    assert state(model) == before
    assert record["steps"] == 2 and (adapter / "adapter_model.safetensors").is_file()
    assert untrue.evaluate(model, tokenizer=tokenizer, adapter=adapter, limit=2).metrics["n_items"] == 2
    with pytest.raises(untrue.UserError, match=r"^learning_rat: "):
        untrue.train(model, rows, tokenizer=tokenizer, learning_rat=1)
    more: Any
    for more in ({"gpus": 2}, {"quantize": "nf4"}):
        with pytest.raises(untrue.UserError, match=r"^a model in memory is trained where it is, as it is\."):
            untrue.train(model, rows, tokenizer=tokenizer, **more)


def test_the_page_of_the_docs_runs(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block after block, with the tiny model in place of the embedded one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("untrue.models.embedded.fetch", lambda: tiny_folder)
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    code = "\n".join(blocks).replace("smollm2-135m", str(tiny_folder))
    code = code.replace('["mix.total=8"', f'["model={tiny_folder}", "mix.total=8"')
    names: dict[str, Any] = {}
    exec(compile(code, str(DOCS), "exec"), names)
    assert names["both"].metrics["capability.value"] == names["both"]["capability"].metrics["value"]
    assert isinstance(names["result"], untrue.Result)
    assert Path("adapters/mine/README.md").is_file() and Path("runs/small/report.html").is_file()
    used = set(re.findall(r"untrue\.(\w+)", "\n".join(blocks)))
    assert Path("runs/sft/honesty.jsonl").read_text("utf-8").count("\n") == 3
    named = {"evaluate", "train", "compare", "gate", "load_study", "run_study", "load_items", "Row", "HonestyCallback"}
    assert named <= used
