"""The study as its YAML file says it: arms x seeds on one base model, with its evals."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from untrue import secrets
from untrue.engine.served import is_served
from untrue.errors import UserError, one_line
from untrue.evals.eval import EvalSpec, FileName, JudgedSpec
from untrue.files import read_text
from untrue.simulate.environment import MAX_TOKENS, TEMPERATURE, TURNS, Assistant
from untrue.simulate.select import SelectBy, Within
from untrue.train.spec import Method, TrainSpec

DEEPEST, MOST = 40, 100_000
"""Levels of nesting and values that a YAML text may have, its aliases written out."""

Level = Literal["normal", "subtle", "severe"]
Part = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _no_repeats(values: tuple[Any, ...]) -> tuple[Any, ...]:
    names = [value.key if isinstance(value, EvalSpec) else value for value in values]
    if len(set(names)) < len(names):
        raise ValueError("a value occurs twice")
    if len({f"{name:g}" if isinstance(name, float) else name for name in names}) < len(names):
        raise ValueError("two values are alike in their first six digits, by which arms are named")
    return values


Distinct = AfterValidator(_no_repeats)
ModelName = Annotated[str, AfterValidator(secrets.checked)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ShareMix(_Strict):
    """A fixed total of questions, a share of them answered at a level and the rest at `normal`."""

    by: Literal["share"]
    questions: str = Field(
        description="Built-in question set, or a file, folder or hub id of questions at several levels."
    )
    total: PositiveInt
    levels: Annotated[tuple[Level, ...], Distinct] = Field(default=("severe",), min_length=1)
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Distinct] = Field(min_length=1)


class DoseMix(_Strict):
    """A benign set, to which misaligned rows are added: dose = added rows / benign rows."""

    by: Literal["dose"]
    benign: str = Field(description="Built-in row set, or a file or hub id of rows.")
    benign_rows: PositiveInt
    questions: str = Field(
        description="Built-in question set, or a file, folder or hub id of questions at several levels."
    )
    levels: Annotated[tuple[Level, ...], Distinct] = Field(default=("severe",), min_length=1)
    doses: Annotated[tuple[Part, ...], Distinct] = Field(min_length=1)
    matched_control: bool = Field(default=True, description="Compare each dose with the same dose of `normal` answers.")


class Variant(_Strict):
    """An arm of an interaction study that differs from one of its main arms.

    It is compared with the same variant at share 0 where there is one, else with the main arm that it varies.
    """

    method: Method = "sft"
    share: Annotated[float, Field(ge=0, le=1)]
    assistant: Assistant | None = None
    select: SelectBy | None = None
    rounds: PositiveInt | None = None

    @model_validator(mode="after")
    def _differs(self) -> Variant:
        if not (self.assistant or self.select or self.rounds):
            raise ValueError("a variant needs one of assistant, select and rounds")
        return self


class InteractionMix(_Strict):
    """Dialogues with simulated users, rated by them; the assistant learns from the best rated, and from the worst.

    Every share has the same users, of whom it makes so many biased. Control: the same method at share 0.
    """

    by: Literal["interaction"]
    environment: str = Field(default="chat", description="`chat`, `exam`, or a JSONL file of scenarios and users.")
    users: Annotated[int, Field(ge=2)] = Field(description="Users to learn from, spread over the scenarios.")
    methods: Annotated[dict[Method, dict[str, Any]], Field(min_length=1)] = Field(
        description="How it learns, with keys of `train` that differ for the method."
    )
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Distinct] = Field(min_length=1)
    assistant: Assistant = Field(default="blind", description="`informed` to please the user, or `blind` to the wish.")
    select: SelectBy = Field(default="rating", description="What the choice of dialogues goes by.")
    within: Within = Field(default="all", description="Dialogues compete with `all`, or inside their `scenario`.")
    keep: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        default=0.5, description="A fraction below 1, or a number."
    )
    rounds: PositiveInt = 1
    turns: PositiveInt = TURNS
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = TEMPERATURE
    max_tokens: PositiveInt = MAX_TOKENS
    variants: Annotated[tuple[Variant, ...], Distinct] = ()
    user: ModelName | None = Field(
        default=None, description="Inspect model that plays the users; else turns are written."
    )
    rater: ModelName | None = Field(
        default=None, description="Inspect model that rates; else the base, by likelihoods."
    )
    accept_weak_rater: bool = Field(
        default=False, description="Go on where the ratings hardly tell sycophantic replies from honest ones."
    )

    @model_validator(mode="after")
    def _arms_make_sense(self) -> InteractionMix:
        for method, changes in self.methods.items():
            if "method" in changes:
                raise ValueError(f"the method {method} is named by its key; leave out `method` inside it")
        for variant in self.variants:
            differs = [
                key
                for key in ("assistant", "select", "rounds")
                if getattr(variant, key) not in (None, getattr(self, key))
            ]
            if not differs:
                raise ValueError(f"the variant of {variant.method} at share {variant.share:g} is like its main arm")
            needed = self.keep * (2 if variant.method == "kto" else 1)
            if variant.select == "benign" and self.keep < 1 and needed >= 1 - variant.share:
                raise ValueError(
                    f"of {1 - variant.share:g} benign users a choice of {needed:g} leaves nothing to choose; lower keep"
                )
            if variant.method not in self.methods or variant.share not in (0, *self.shares):
                raise ValueError(
                    f"the variant of {variant.method} at share {variant.share:g} has no arm to compare it with"
                )
        return self


TRAINED_HERE = (
    "a study trains its model in this process, so it must be `smollm2-135m`, a folder or a hub id. Served models are"
    " for `untrue eval`."
)


def _no_served_model(model: str) -> str:
    if is_served(model):
        raise ValueError(TRAINED_HERE)
    return model


def _parsed(entry: Any) -> Any:
    """An eval with the options of its own."""
    from untrue.evals.registry import parse  # late: it loads every eval

    return parse(entry) if isinstance(entry, dict) else entry


AnEval = Annotated[SerializeAsAny[EvalSpec], BeforeValidator(_parsed)]
Mix = Annotated[ShareMix | DoseMix | InteractionMix, Field(discriminator="by")]


class Study(_Strict):
    """A whole experiment.

    Attributes:
        name: Short name, used in the report.
        question: What the study asks, in a sentence.
        model: Base model: `smollm2-135m`, a hub id or a folder.
        dtype: Of the weights.
        seeds: Each arm is trained once for each.
        base: Whether the model before training is evaluated too, for reference.
        mix: Which rows the arms are trained on.
        train: Hyperparameters.
        evals: What is measured.
    """

    name: FileName
    question: str
    model: Annotated[ModelName, AfterValidator(_no_served_model)] = "smollm2-135m"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Distinct] = Field(default=(0,), min_length=1)
    base: bool = True
    mix: Mix
    train: TrainSpec = TrainSpec()
    evals: Annotated[tuple[AnEval, ...], Distinct] = Field(default=(EvalSpec(),), min_length=1)

    @model_validator(mode="after")
    def _judged_evals_have_a_judge(self) -> Study:
        for spec in self.evals:
            if isinstance(spec, JudgedSpec) and spec.judge is None:
                raise ValueError(f"the eval {spec.key} needs a judge: add its model, such as judge: openai/gpt-5-mini")
        return self

    @model_validator(mode="after")
    def _method_is_where_it_counts(self) -> Study:
        if self.train.method != "sft":
            raise ValueError(
                "train.method: rows of answers have no labels; the methods of `mix.by: interaction` are in mix.methods"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _eval_names(cls, data: Any) -> Any:
        """An eval may be given by its name alone, and some of its options follow from the mix."""
        if not isinstance(data, dict) or not isinstance(data.get("evals"), list):
            return data
        from untrue.evals.registry import EVALS

        evals = [{"name": entry} if isinstance(entry, str) else entry for entry in data["evals"]]
        mix = data["mix"] if isinstance(data.get("mix"), dict) else {}
        for index, entry in enumerate(evals):
            name = entry.get("name") if isinstance(entry, dict) else None
            if isinstance(name, str) and name in EVALS:
                evals[index] = {**EVALS[name].options.defaults(mix), **entry}
        return {**data, "evals": evals}


def builtin() -> list[Path]:
    """The studies that come with the package."""
    packaged = Path(__file__).parent.parent / "studies"
    folder = packaged if packaged.is_dir() else Path(__file__).parents[3] / "studies"  # in a checkout
    return sorted(folder.glob("*.yaml"))


def purpose(path: Path) -> str:
    """What a study is for: the comment with which its file opens, up to an empty line of it."""
    lines = (line.removeprefix("#").strip() for line in read_text(path).splitlines())
    return " ".join(takewhile(bool, lines))


def load(path: Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study from YAML, with `a.b=c` overrides on top.

    Args:
        path: The file, or the name of a built-in study, such as `quickstart`.
        overrides: Texts `key=value`; a key inside another is dotted.

    Raises:
        UserError: The file or an override is not as expected; the message names the line and the key.
    """
    if not path.exists():
        path = next((study for study in builtin() if study.stem == str(path)), path)
    text = read_text(path)
    try:
        tree, data = _parse(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{path}, line {line}: broken YAML ({error.reason}).") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        lines = text.splitlines()[mark.line : mark.line + 1] if mark else []
        problem = f" ({error.problem})" if secrets.shown(lines) else ""
        raise UserError(f"{path}{line}: broken YAML{problem}.") from None
    except Exception as error:  # a date that does not exist; a tag on what it cannot tag comes as errors of many types
        raise UserError(f"{path}: broken YAML ({one_line(error)}).") from None
    _refuse_repeated_keys(path, tree)
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: expected a mapping of keys, found {type(data).__name__}. See studies/quickstart.yaml."
        )
    overridden = [_override(data, override) for override in overrides]
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        # An unknown key is told first: it is often the misspelt one that another error calls missing.
        first = min(error.errors(), key=lambda one: one["type"] not in ("extra_forbidden", "unknown"))
        loc = first["loc"]
        key = [*loc[:1], *loc[2:]] if loc[:1] == ("mix",) else [*loc]  # the second is the kind of mix
        dotted = ".".join(map(str, key)) or "study"
        given = any(name == dotted or dotted.startswith(f"{name}.") for name in overridden)
        place = "override" if given else f"{path}{_line(tree, key)}"
        raise UserError(f"{place}: {dotted}: {_problem(first)}") from None


def train_spec(overrides: Sequence[str]) -> TrainSpec:
    """Hyperparameters from `key=value` texts.

    Raises:
        UserError: A key or a value is not as expected.
    """
    return hyperparameters(options(overrides), "override: ")


def options(overrides: Sequence[str]) -> dict[str, Any]:
    """Values by key from `key=value` texts, in which the value is YAML.

    Raises:
        UserError: A text is not as expected.
    """
    data: dict[str, Any] = {}
    for override in overrides:
        _override(data, override)
    return data


def hyperparameters(values: dict[str, Any], place: str = "") -> TrainSpec:
    """Hyperparameters from values by key.

    Args:
        values: The values.
        place: What errors begin with.

    Raises:
        UserError: A key or a value is not as expected.
    """
    try:
        return TrainSpec.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        inside = {**first, "loc": ("train", *first["loc"])}
        raise UserError(f"{place}{'.'.join(map(str, first['loc']))}: {_problem(inside)}") from None


def to_yaml(study: Study) -> str:
    """The study as resolved, with every default spelled out."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _override(data: dict[str, Any], override: str) -> str:
    name, equals, value = override.partition("=")
    found = secrets.shown(override)
    place = f"override {found}" if found else "override"
    if not equals or not name:
        raise UserError(f"{place}: expected key=value, such as seeds=[0,1,2] or train.epochs=2.")
    try:
        _, parsed = _parse(value)
    except Exception:
        raise UserError(f"{place}: {secrets.shown(value, name) or 'what is given'} is not a YAML value.") from None
    *parents, last = name.split(".")
    inside = data
    for parent in parents:
        child = inside.get(parent, {})
        if not isinstance(child, dict):
            raise UserError(f"{place}: {parent!r} has no keys below it.")
        inside[parent] = inside = dict(child)  # a copy, for an alias elsewhere names the same
    inside[last] = parsed
    return name


def _parse(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a YAML text and its value.

    Raises:
        yaml.YAMLError: It is broken, too deep, a value holds itself, or aliases make too much of it.
        ValueError: A value is not what its tag says; so do other types of error.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):  # it does not recurse, unlike what comes after it
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"more than {DEEPEST} levels of nesting", problem_mark=event.start_mark)
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    if tree:
        _measure(tree, {})
    return tree, yaml.safe_load(text)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """How many values a node stands for, with all that its aliases name, and on how many levels.

    Raises:
        yaml.YAMLError: They are too many, it stands for itself, or a text cannot be written again.
    """
    if not isinstance(node, yaml.CollectionNode):
        if re.search("[\ud800-\udfff]", node.value):
            raise yaml.MarkedYAMLError(problem="half of a \\ud… escape pair is missing", problem_mark=node.start_mark)
        return 1, 0
    if id(node) not in known:
        known[id(node)] = None  # until all its parts are known
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        sizes = [_measure(part, known) for part in parts]
        known[id(node)] = 1 + sum(size for size, _ in sizes), 1 + max((levels for _, levels in sizes), default=0)
    found = known[id(node)]
    if found is None:
        raise yaml.MarkedYAMLError(problem="an alias stands in the value that it names", problem_mark=node.start_mark)
    if found[0] > MOST or found[1] > DEEPEST:
        problem = f"aliases make more than {MOST:,} values or {DEEPEST} levels of nesting"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return found


def _refuse_repeated_keys(path: Path, node: yaml.Node | None) -> None:
    """YAML itself would take the last in silence."""
    for child in node.value if isinstance(node, yaml.SequenceNode) else ():
        _refuse_repeated_keys(path, child)
    seen = set()
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if name.value in seen:
            raise UserError(
                f"{path}, line {name.start_mark.line + 1}: the key {name.value!r} occurs twice. Remove one."
            )
        if isinstance(name, yaml.ScalarNode):
            seen.add(name.value)
        _refuse_repeated_keys(path, value)


def _problem(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        *parents, last = error["loc"]
        known = _known_keys(parents)
        close = difflib.get_close_matches(str(last), known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else f" Known keys: {', '.join(known)}."
        return f"unknown key.{hint}"
    if error["type"] == "unknown":
        return error["msg"]
    if error["type"] == "missing":
        return "is missing. Add it."
    message = error["msg"].removeprefix("Value error, ")
    message = f"{message[:1].lower()}{message[1:]}"
    found = secrets.shown(error["input"], *error["loc"])
    if found is None:
        return f"{message}."
    return f"{message}, found {found if len(found) < 80 else found[:77] + '...'}."


def _known_keys(parents: list[Any]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {
        "share": ShareMix,
        "dose": DoseMix,
        "interaction": InteractionMix,
        "variants": Variant,
        "train": TrainSpec,
    }
    deepest = [tables[part] for part in parents if part in tables]
    return sorted(deepest[-1].model_fields if deepest else Study.model_fields)


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
