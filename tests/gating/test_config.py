"""`gate.yaml`: its defaults, and what is refused with the file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from untrue.errors import UserError
from untrue.gating.config import Delta, GateConfig
from untrue.harness.catalogue import EVALS
from untrue.settings import load, validate
from untrue.study.config import Study


def test_no_file_is_needed() -> None:
    config = GateConfig()
    assert [spec.name for spec in config.evals] == ["forced_choice", "capability"]
    assert [spec.limit for spec in config.evals] == [None, None]
    assert (config.alpha, config.delta.lie_rate, config.delta.pressure_margin) == (0.05, 0.05, 0.08)


@pytest.mark.parametrize("text", ["", "# alpha: 0.1\n", "---\n"])
def test_an_empty_file_leaves_all_at_its_default(text: str, tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text(text, "utf-8")
    assert load(GateConfig, path) == GateConfig()
    assert load(GateConfig, path, ["alpha=0.01"]).alpha == 0.01
    with pytest.raises(UserError, match=r"gate\.yaml: expected a mapping of keys, found NoneType"):
        load(Study, path)


def test_evals_are_names_or_have_options(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text("evals: [forced_choice, {name: capability, limit: 9}]\ndelta: {lie_rate: 0.02}\n", "utf-8")
    config = load(GateConfig, path, ["alpha=0.025"])
    assert [(spec.name, spec.limit) for spec in config.evals] == [("forced_choice", None), ("capability", 9)]
    assert (config.alpha, config.delta.lie_rate, config.delta.pressure_margin) == (0.025, 0.02, 0.08)
    for text in ("reply_choice,capability", "[reply_choice, capability]"):
        assert [spec.name for spec in load(GateConfig, path, [f"evals={text}"]).evals] == ["reply_choice", "capability"]
    assert [spec.name for spec in validate(GateConfig, {"evals": "capability"}).evals] == ["capability"]


def test_capability_has_a_delta_of_its_own() -> None:
    def deltas(settings: dict) -> list[float]:
        delta = validate(GateConfig, settings).delta
        return [delta.of("value", EVALS[name]) for name in ("capability", "reply_choice")]

    assert (deltas({}), deltas({"delta": {"value": 0.02}})) == ([0.10, 0.05], [0.02, 0.02])
    assert Delta().of("lie_rate", EVALS["capability"]) == 0.05


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alpha: 0.05\ndeltas: {}\n", r"gate\.yaml, line 2: deltas: unknown key\. Did you mean 'delta'\?"),
        ("delta:\n  lie_rte: 0.1\n", r"gate\.yaml, line 2: delta\.lie_rte: unknown key\. Did you mean 'lie_rate'\?"),
        ("delta: {lie_rate: 5}\n", r"gate\.yaml, line 1: delta\.lie_rate: .*less than 1"),
        ("delta: {lie_rate: 0}\n", r"delta\.lie_rate: .*greater than 0"),
        ("delta: {value: 5}\n", r"gate\.yaml, line 1: delta\.value: .*less than 1"),
        ("delta: {pressure_margin: .inf}\n", r"delta\.pressure_margin: .*finite"),
        ("alpha: 0.5\n", r"gate\.yaml, line 1: alpha: "),
        ("evals: []\n", r"gate\.yaml, line 1: evals: "),
        ("evals: [forced_choise]\n", r"gate\.yaml, line 1: .*unknown eval\. Did you mean 'forced_choice'\?"),
        ("evals: [capability, capability]\n", r"capability is named twice: a gate asks each eval once"),
        ("evals: [mask]\n", r"the eval mask needs a judge"),
        ("- 1\n", r"gate\.yaml: expected a mapping"),
    ],
)
def test_what_is_refused_names_its_place(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(UserError, match=said) as refused:
        load(GateConfig, path)
    assert "\n" not in str(refused.value)


def test_a_key_of_an_eval_or_of_delta_is_told_its_place() -> None:
    with pytest.raises(UserError) as refused:
        validate(GateConfig, {"limit": 20})
    assert str(refused.value) == (
        "limit: unknown key. Known keys: alpha, control, delta, evals."
        " It belongs to an entry of evals, such as 'evals=[{name: forced_choice, limit: 20}]'."
    )
    with pytest.raises(UserError, match=r"It belongs to delta: write delta\.lie_rate=VALUE, or"):
        validate(GateConfig, {"lie_rate": 0.1})


def test_values_from_a_program_are_refused_too() -> None:
    with pytest.raises(UserError, match="alpha"):
        validate(GateConfig, {"alpha": 0})
