"""A judge by what a person calls it: Inspect's name of a model, or `{model: NAME, …}` with settings and arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from untrue.errors import UntrueError, UserError

if TYPE_CHECKING:
    from inspect_ai.model import Model


def parts(judge: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The model's name, its arguments (`model_args`, such as base_url or adapter) and its settings.

    Raises:
        UserError: It begins with a brace and is no mapping with a `model`.
    """
    if not judge.lstrip().startswith("{"):
        return judge, {}, {}
    try:
        given = yaml.safe_load(judge)
        name, arguments = given.pop("model"), given.pop("model_args", {})
    except (yaml.YAMLError, KeyError, AttributeError):
        name = arguments = None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise UserError(f"judge {judge!r}: expected a model's name, or {{model: NAME, temperature: 0.5}}.")
    return name, arguments, given


def judge_model(judge: str) -> Model:
    """The model, as Inspect calls it.

    Raises:
        UserError: There is no such provider or model, or something that it needs is missing.
    """
    from inspect_ai.model import GenerateConfig, get_model
    from rich.text import Text

    name, arguments, settings = parts(judge)
    try:
        return get_model(name, config=GenerateConfig(**settings), memoize=False, **arguments)
    except UntrueError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"judge {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
    except Exception as error:  # no such provider, no key, a package that is not installed
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = Text.from_markup(lines[0]).plain.strip().rstrip(".")
        raise UserError(f"{name}: cannot be a judge ({reason}). Name a model as Inspect does.") from None
