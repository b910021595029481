"""A judge by what a person calls it: Inspect's name of a model, or `{model: NAME, …}` with settings and arguments."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from untrue.errors import MachineError, UntrueError, UserError, one_line

if TYPE_CHECKING:
    from inspect_ai.model import Model

HERE = ("untrue", "hf", "transformer_lens", "nnterp", "sglang")
"""Providers whose models are loaded when they are made: into this process, or into a server that it starts."""

REFUSALS = (400, 401, 403, 404, 422)
"""Of HTTP: what the user can mend."""


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
    from inspect_ai.model import GenerateConfig

    from untrue.engine.served import named_model

    name, arguments, settings = parts(judge)
    try:
        return named_model(name, config=GenerateConfig(**settings), **arguments)
    except UntrueError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"judge {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
    except Exception as error:  # no such provider, no key, a package that is not installed
        raise UserError(f"{name}: cannot be a judge ({one_line(error)}). Name a model as Inspect does.") from None


def check_named(judge: str) -> None:
    """Find out what a judge lacks, such as its key, before anything is loaded; one that is loaded here is left alone.

    Raises:
        UserError: See `judge_model`.
    """
    if not _is_here(judge):
        judge_model(judge)


def check_answers(judge: str) -> None:
    """Ask a judge one question, whatever it answers, before anything is spent; one that is loaded here is left alone.

    Raises:
        UserError: It refuses to be asked: the key, the name or a setting is wrong.
        MachineError: It cannot be reached, or fails.
    """
    from untrue.judge.judge import Judge
    from untrue.judge.verdict import JudgeError, NoRoom

    if _is_here(judge):
        return
    try:
        asyncio.run(Judge(judge_model(judge)).probe())  # made anew, since its connections end with this loop
    except JudgeError as error:
        status = getattr(error.__cause__, "status_code", None) or 500
        refused = isinstance(error, NoRoom) or status in REFUSALS
        raise (UserError if refused else MachineError)(
            f"{error}. Nothing was asked of the model under study."
        ) from None


def _is_here(judge: str) -> bool:
    return parts(judge)[0].partition("/")[0] in HERE
