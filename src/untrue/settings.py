"""Settings: a pydantic model from a YAML file, from `key=value` texts, or both. Errors name file, line and key."""

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo

from untrue import secrets
from untrue.errors import UserError, one_line
from untrue.files import read_text

M = TypeVar("M", bound=BaseModel)


def listed(value: Any) -> Any:
    """The list that a value means. `0.1,0.5` and `0.1` need no brackets, which zsh takes for a pattern of files."""
    if isinstance(value, str):
        with suppress(Exception):  # what is no YAML is an entry, which the list's own type refuses
            value = _parse(f"[{value}]")[1]
    return value if isinstance(value, list | tuple) else [value]


Listed = BeforeValidator(listed)  # of a tuple of settings: brackets may be left out


def load(model: type[M], path: Path, overrides: Sequence[str] = (), example: str = "") -> M:
    """Read settings from a YAML file, with `a.b=c` overrides on top.

    Args:
        model: What the file describes.
        path: The file.
        overrides: Texts `key=value`; dots separate nested keys.
        example: A file that errors point to.

    Raises:
        UserError: The file or an override is not as expected. The message names the line and the key.
    """
    tree, values = _read_yaml(path)
    if values is None and not any(field.is_required() for field in model.model_fields.values()):
        values = {}  # an empty file leaves everything at its default
    if not isinstance(values, dict):
        see = f" See {example}." if example else ""
        raise UserError(f"{path}: expected a mapping of keys, found {type(values).__name__}.{see}")
    names = [_assign(values, text) for text in overrides]

    def place(key: Sequence[str | int]) -> str:
        dotted = ".".join(map(str, key))
        overridden = any(name == dotted or dotted.startswith(f"{name}.") for name in names)
        return "override" if overridden else f"{path}{_line(tree, key)}"

    return validate(model, values, place)


def validate(model: type[M], values: Mapping[str, Any], place: str | Callable[[Sequence[str | int]], str] = "") -> M:
    """Return settings from values by key.

    Args:
        model: What they describe.
        values: The values.
        place: What errors begin with, such as `override`, or what gives it for a key.

    Raises:
        UserError: A key or a value is not as expected.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        key, problem = _explain(model, error)
        begin = place if isinstance(place, str) else place(key)
        raise UserError(": ".join(part for part in (begin, ".".join(map(str, key)), problem) if part)) from None


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Return the values of `key=value` texts. Values are YAML, dots nest: `a.b=1` is `{"a": {"b": 1}}`.

    Raises:
        UserError: A text is no assignment.
    """
    values: dict[str, Any] = {}
    for text in texts:
        _assign(values, text)
    return values


def _assign(values: dict[str, Any], text: str) -> str:
    """Set the value that a `key=value` text names; return its dotted key."""
    name, equals, value = text.partition("=")
    shown = secrets.shown(text)
    place = f"override {shown}" if shown else "override"
    if not equals or not name:
        raise UserError(f"{place}: expected key=value, such as seeds=3 or train.epochs=2.")
    try:
        _, parsed = _parse(value)
    except Exception:
        raise UserError(f"{place}: {secrets.shown(value, name) or 'its value'} is not a YAML value.") from None
    *parents, last = name.split(".")
    inside = values
    for parent in parents:
        child = inside.get(parent, {})
        if not isinstance(child, dict):
            raise UserError(f"{place}: {parent!r} has no keys below it.")
        inside[parent] = inside = dict(child)  # a copy: an alias elsewhere may name the same
    inside[last] = parsed
    return name


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses repeated keys."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Compose a mapping."""
        node: Any = super().compose_mapping_node(anchor)
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, _ in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and counts[key.value] > 1:
                problem = f"the key {key.value!r} occurs twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        return node


def _parse(text: str) -> tuple[yaml.Node | None, Any]:
    """Return the nodes of a YAML text and its value."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _read_yaml(path: Path) -> tuple[yaml.Node | None, Any]:
    text = read_text(path)
    try:
        return _parse(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{path}, line {line}: broken YAML ({error.reason}).") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        lines = text.splitlines()[mark.line : mark.line + 1] if mark else []
        problem = f" ({error.problem})" if secrets.shown(lines) else ""
        raise UserError(f"{place}: broken YAML{problem}.") from None
    except Exception as error:  # a date that does not exist; a tag that does not fit raises errors of many types
        raise UserError(f"{path}: broken YAML ({one_line(error)}).") from None


def _explain(model: type[BaseModel], error: ValidationError) -> tuple[list[str | int], str]:
    """The key that the first error is about, and what is wrong with it."""
    # An unknown key comes first: it is often the misspelt one that another error calls missing.
    first = min(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    unknown = first["type"] == "extra_forbidden"
    *parents, last = first["loc"] or [""]
    key, fields = _resolve(model, parents if unknown else first["loc"])
    if unknown:
        names = sorted(fields)
        aliases = [name for field in fields.values() for name in getattr(field.validation_alias, "choices", ())]
        close = difflib.get_close_matches(str(last), [*names, *aliases], 1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(names)}."
        return [*key, last], f"unknown key. {hint}{_belongs(str(last), fields)}"
    if first["type"] == "missing":
        return key, "is missing. Add it."
    message = first["msg"].removeprefix("Value error, ")
    message = f"{message[:1].lower()}{message[1:]}"
    if message.endswith(("?", ".")):  # a whole sentence
        return key, message
    shown = secrets.shown(first["input"], *first["loc"])
    if shown is None:
        return key, f"{message}."
    return key, f"{message}, found {shown if len(shown) < 80 else shown[:77] + '...'}."


def _belongs(key: str, fields: Mapping[str, FieldInfo]) -> str:
    """Where a key that is unknown here is known: in a field beside it."""
    for name, field in fields.items():
        if any(key in inner.model_fields for inner in _models(field.annotation)):
            if isinstance(field.annotation, type):
                return f" It belongs to {name}: write {name}.{key}=VALUE, or put it under {name} in a file."
            example = "".join(
                f", such as '{name}={yaml.safe_dump(value, default_flow_style=True, sort_keys=False).strip()}'"
                for value in field.examples or ()
            )
            return f" It belongs to an entry of {name}{example}."
    return ""


def _resolve(model: type[BaseModel], loc: Sequence[str | int]) -> tuple[list[str | int], dict[str, FieldInfo]]:
    """Follow pydantic's location: the key as the file has it, and the fields of the models that lie there.

    Where a field is a union that a tag tells apart, pydantic puts the tag into the location.
    """
    key: list[str | int] = []
    models = [model]
    for part in loc:
        tagged = [member for member in models if _has_tag(member, part)] if len(models) > 1 else []
        if tagged:
            models = tagged
            continue
        key.append(part)
        fields = [member.model_fields[str(part)] for member in models if part in member.model_fields]
        models = [inner for field in fields for inner in _models(field.annotation)] or models
    return key, {name: field for member in models for name, field in member.model_fields.items()}


def _has_tag(model: type[BaseModel], tag: str | int) -> bool:
    annotations = [field.annotation for field in model.model_fields.values()]
    return any(get_origin(annotation) is Literal and get_args(annotation) == (tag,) for annotation in annotations)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type, such as those of a union or a tuple, with their subclasses."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for subclass in annotation.__subclasses__():
            yield from _models(subclass)
    for inner in get_args(annotation):
        yield from _models(inner)


def _line(tree: yaml.Node | None, key: Sequence[str | int]) -> str:
    """`, line N` of the deepest part of a key that the file has."""
    line: int | None = None
    node: Any = tree
    for part in key:
        if isinstance(node, yaml.MappingNode):
            pair = next(((name, value) for name, value in node.value if name.value == part), None)
            if not pair:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return f", line {line}" if line else ""
