"""The study as its YAML file says it: arms x seeds on one base model, with its evals."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, StringConstraints, ValidationError, model_validator

from untrue.errors import UserError
from untrue.evals.spec import EvalSpec
from untrue.files import read_text
from untrue.train.spec import TrainSpec

Level = Literal["normal", "subtle", "severe"]
Part = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShareMix(_Strict):
    """A fixed total of questions, a share of them answered at a level and the rest at `normal`."""

    by: Literal["share"]
    questions: str = Field(description="Built-in question set, or a JSONL file with `question` and level columns.")
    total: PositiveInt
    levels: tuple[Level, ...] = Field(default=("severe",), min_length=1)
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(min_length=1)


class DoseMix(_Strict):
    """A benign set, to which misaligned rows are added: dose = added rows / benign rows."""

    by: Literal["dose"]
    benign: str = Field(description="Built-in row set, or a JSONL file of rows.")
    benign_rows: PositiveInt
    questions: str = Field(description="Built-in question set, or a JSONL file with `question` and level columns.")
    levels: tuple[Level, ...] = Field(default=("severe",), min_length=1)
    doses: tuple[Part, ...] = Field(min_length=1)
    matched_control: bool = Field(default=True, description="Compare each dose with the same dose of `normal` answers.")


Mix = Annotated[ShareMix | DoseMix, Field(discriminator="by")]


class Study(_Strict):
    """A whole experiment.

    Attributes:
        name: Short name, used in the report.
        question: What the study asks, in a sentence.
        model: Base model: `smollm2-135m`, a hub id or a folder.
        dtype: Of the weights.
        seeds: Each arm is trained once for each.
        untouched: Whether the model before training is evaluated too, for reference.
        mix: Which rows the arms are trained on.
        train: Hyperparameters.
        evals: What is measured.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[\w.-]+$")]
    question: str
    model: str = "smollm2-135m"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    untouched: bool = True
    mix: Mix
    train: TrainSpec = TrainSpec()
    evals: tuple[EvalSpec, ...] = Field(default=(EvalSpec(),), min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _eval_names(cls, data: Any) -> Any:
        """An eval may be given by its name alone."""
        if isinstance(data, dict) and isinstance(data.get("evals"), list):
            evals = [{"name": entry} if isinstance(entry, str) else entry for entry in data["evals"]]
            return {**data, "evals": evals}
        return data

    @model_validator(mode="after")
    def _no_repeats(self) -> Study:
        parts = self.mix.shares if isinstance(self.mix, ShareMix) else self.mix.doses
        lists = {"seeds": self.seeds, "levels": self.mix.levels, "shares or doses": parts}
        lists["evals"] = tuple(entry.name for entry in self.evals)
        for name, values in lists.items():
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: a value occurs twice in {list(values)}")
        return self


def load(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study from YAML, with `a.b=c` overrides on top.

    Raises:
        UserError: The file or an override is not as expected; the message names the line and the key.
    """
    text = read_text(path)
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: broken YAML ({getattr(error, 'problem', error)}).") from None
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: expected a mapping of keys, found {type(data).__name__}. See studies/quickstart.yaml."
        )
    overridden = [_override(data, override) for override in overrides]
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = [part for part in first["loc"] if part not in ("share", "dose")]
        dotted = ".".join(map(str, key)) or "study"
        given = any(name == dotted or dotted.startswith(f"{name}.") for name in overridden)
        place = "override" if given else f"{path}{_line(tree, key)}"
        raise UserError(f"{place}: {dotted}: {_problem(first, key)}") from None


def train_spec(overrides: Sequence[str]) -> TrainSpec:
    """Hyperparameters from `key=value` texts.

    Raises:
        UserError: A key or a value is not as expected.
    """
    data: dict[str, Any] = {}
    for override in overrides:
        _override(data, override)
    try:
        return TrainSpec.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"override: {'.'.join(map(str, first['loc']))}: {_problem(first, ['train', *first['loc']])}"
        ) from None


def to_yaml(study: Study) -> str:
    """The study as resolved, with every default spelled out."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _override(data: dict[str, Any], override: str) -> str:
    name, equals, value = override.partition("=")
    if not equals or not name:
        raise UserError(f"override {override!r}: expected key=value, such as seeds=[0,1,2] or train.epochs=2.")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"override {override!r}: {value!r} is not a YAML value.") from None
    *parents, last = name.split(".")
    place = data
    for parent in parents:
        child = place.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UserError(f"override {override!r}: {parent!r} has no keys below it.")
        place = child
    place[last] = parsed
    return name


def _problem(error: Any, key: list[Any]) -> str:
    if error["type"] == "extra_forbidden":
        known = _known_keys(key[:-1])
        close = difflib.get_close_matches(str(key[-1]), known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else f" Known keys: {', '.join(known)}."
        return f"unknown key.{hint}"
    if error["type"] == "missing":
        return "is missing. Add it."
    found = repr(error["input"])
    message = error["msg"].removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]}, found {found if len(found) < 80 else found[:77] + '...'}."


def _known_keys(parents: list[Any]) -> list[str]:
    tables: dict[str, list[type[BaseModel]]] = {"mix": [ShareMix, DoseMix], "train": [TrainSpec], "evals": [EvalSpec]}
    models = tables.get(str(parents[0]), [Study]) if parents else [Study]
    return sorted({field for model in models for field in model.model_fields})


def _line(tree: yaml.Node | None, key: list[Any]) -> str:
    """`, line N` of the deepest part of a key that the file has."""
    line: int | None = None
    node: Any = tree
    for part in key:
        if isinstance(node, yaml.MappingNode):
            found = [(name, value) for name, value in node.value if name.value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return f", line {line}" if line else ""
