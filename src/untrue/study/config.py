"""The study as its YAML file says it: arms x seeds on one base model, with its evals."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from untrue import secrets
from untrue.engine.served import is_served
from untrue.errors import UserError, one_line
from untrue.evals.spec import JUDGED, EvalSpec, FileName
from untrue.files import read_text
from untrue.study.routes import ROUTES
from untrue.study.routes.route import Distinct, Route
from untrue.train.spec import TrainSpec

ModelName = Annotated[str, AfterValidator(secrets.checked)]
DEEPEST, MOST = 40, 100_000
"""Levels of nesting and values that a YAML text may have, its aliases written out."""

TRAINED_HERE = (
    "a study trains its model in this process, so it must be `smollm2-135m`, a folder or a hub id. Served models are"
    " for `untrue eval`."
)


def _no_served_model(model: str) -> str:
    if is_served(model):
        raise ValueError(TRAINED_HERE)
    return model


def _by_route(value: Any) -> Any:
    routes: Any = Annotated[Union[tuple(ROUTES.values())], Field(discriminator="by")]  # noqa: UP007  # type: ignore
    return TypeAdapter(routes).validate_python(value)


class Study(BaseModel):
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

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: FileName
    question: str
    model: Annotated[ModelName, AfterValidator(_no_served_model)] = "smollm2-135m"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Distinct] = Field(default=(0,), min_length=1)
    base: bool = True
    mix: Annotated[SerializeAsAny[Route], BeforeValidator(_by_route)]
    train: TrainSpec = TrainSpec()
    evals: Annotated[tuple[EvalSpec, ...], Distinct] = Field(default=(EvalSpec(),), min_length=1)

    @model_validator(mode="after")
    def _judged_evals_have_a_judge(self) -> Study:
        for spec in self.evals:
            if spec.name in JUDGED and spec.judge is None:
                raise ValueError(f"the eval {spec.key} needs a judge: add its model, such as judge: openai/gpt-5-mini")
        return self

    @model_validator(mode="after")
    def _route_can_use_the_hyperparameters(self) -> Study:
        self.mix.check_train(self.train)
        return self

    @model_validator(mode="before")
    @classmethod
    def _eval_names(cls, data: Any) -> Any:
        """An eval may be given by its name alone; what it leaves out may come from the route."""
        if isinstance(data, dict) and isinstance(data.get("evals"), list):
            evals = [{"name": entry} if isinstance(entry, str) else entry for entry in data["evals"]]
            mix = data.get("mix")
            mix = mix if isinstance(mix, dict) else {}
            route = ROUTES.get(str(mix.get("by")))
            offers = route.offers(mix) if route else {}
            taken = {"sft_cue": ("domain", "domain"), "sycophancy": ("items", "environment")}
            for place, entry in enumerate(evals):
                key, offer = taken.get(str(entry.get("name")), ("", "")) if isinstance(entry, dict) else ("", "")
                if offer in offers:
                    evals[place] = {key: offers[offer], **entry}
            return {**data, "evals": evals}
        return data


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
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
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
    data: dict[str, Any] = {}
    for override in overrides:
        _override(data, override)
    return hyperparameters(data, "override: ")


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
        fields = _fields(parents)
        known = sorted(fields)
        aliases = [choice for field in fields.values() for choice in getattr(field.validation_alias, "choices", ())]
        close = difflib.get_close_matches(str(last), [*known, *aliases], 1)
        hint = f" Did you mean {close[0]!r}?" if close else f" Known keys: {', '.join(known)}."
        return f"unknown key.{hint}"
    if error["type"] == "missing":
        return "is missing. Add it."
    message = error["msg"].removeprefix("Value error, ")
    message = f"{message[:1].lower()}{message[1:]}"
    found = secrets.shown(error["input"], *error["loc"])
    if found is None:
        return f"{message}."
    return f"{message}, found {found if len(found) < 80 else found[:77] + '...'}."


def _fields(parents: list[Any]) -> Mapping[str, FieldInfo]:
    model: type[BaseModel] = Study
    for part in parents:
        inner = model.model_fields[part].annotation if part in model.model_fields else None
        model = ROUTES.get(part) or next(_models(inner), model)
    return model.model_fields


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type, such as that of a tuple of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


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
