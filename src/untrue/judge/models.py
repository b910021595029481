"""Judges as users name them: Inspect's name of a model, or `{model: NAME, …}` with settings and arguments."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from untrue import secrets
from untrue.errors import MachineError, UntrueError, UserError, one_line
from untrue.files import content_hash
from untrue.models.adapter import adapter_hash
from untrue.models.identity import folder_hash
from untrue.models.name import ModelName
from untrue.serving.client import provider_model
from untrue.serving.proof import proved

if TYPE_CHECKING:
    from inspect_ai.model import Model

# Providers that load a model when it is created: into this process, or into a server that it starts.
HERE = ("untrue", "hf", "transformer_lens", "nnterp", "sglang")

REFUSALS = (400, 401, 403, 404, 413, 422)  # HTTP statuses whose cause the user can fix


def parts(judge: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The model's name, its arguments (`model_args`, such as base_url or adapter) and its settings."""
    try:
        if not secrets.checked(judge).lstrip().startswith("{"):
            return judge, {}, {}
        settings = yaml.safe_load(judge)
        name, arguments = settings.pop("model"), settings.pop("model_args", {})
    except ValueError as error:
        raise UserError(f"judge: {error}.") from None
    except (KeyError, AttributeError, TypeError):
        name, arguments, settings = None, None, {}
    if not isinstance(name, str) or not isinstance(arguments, dict):
        place = " ".join(filter(None, ("judge", secrets.shown(judge))))
        raise UserError(f"{place}: expected a model's name, or {{model: NAME, temperature: 0.5}}.")
    return name, arguments, settings


def content(model: str | None) -> str | None:
    """Identify a model without loading it, by its name and the content of local folders."""
    if model is None:
        return None
    name, arguments, _ = parts(model)
    provider, _, base = name.partition("/")
    adapter, known = arguments.get("adapter"), [model]
    if folder := ModelName.parse(name).adapter:
        known.append(adapter_hash(folder))
    if provider in (*HERE, "vllm") and (folder := Path(base)).joinpath("config.json").is_file():
        known.append(folder_hash(folder))
    if isinstance(adapter, str) and Path(adapter).is_dir():
        known.append(adapter_hash(Path(adapter)))
    return content_hash(" ".join(known))


def judge_model(judge: str) -> Model:
    """Inspect's model of a judge; a served adapter must first prove itself. A log keeps `$NAME` of its arguments."""
    from inspect_ai.model import GenerateConfig

    name, arguments, settings = parts(judge)
    try:
        resolved = secrets.from_environment(arguments)
    except ValueError as error:
        raise UserError(f"judge {name}: model_args.{error}.") from None
    named = ModelName.parse(name)
    if named.takes_adapters and "adapter" in arguments:  # to a server it would be an argument, which it passes over
        raise UserError(f"judge {name}: model_args.adapter is of a model in this process. Name it {name}:FOLDER.")
    try:
        if named.adapter:
            name = proved(named, **resolved).name
        model = provider_model(name, config=GenerateConfig(**settings), **resolved)
    except UntrueError:
        raise
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(f"judge {name}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}.") from None
    except Exception as error:  # no such provider, no key, a package that is not installed
        raise UserError(f"{name}: cannot be a judge ({one_line(error)}). Name a model as Inspect does.") from None
    model.model_args = {key: arguments.get(key, value) for key, value in model.model_args.items()}
    return model


def check_named(judge: str) -> None:
    """Check that a judge can be created, key included, before anything is loaded. Skips one loaded here."""
    if not _is_here(judge):
        judge_model(judge)


def check_answers(judge: str) -> None:
    """Check that a judge answers one question, before anything is spent. Skips one loaded here."""
    from untrue.judge.judge import Judge
    from untrue.judge.judgement import JudgeError

    if _is_here(judge):
        return
    try:
        asyncio.run(Judge(judge_model(judge)).probe())  # a new model: its connections end with this loop
    except JudgeError as error:
        raised = error.__cause__  # None where the refusal came as a reply
        refused = raised is None or getattr(raised, "status_code", None) in REFUSALS
        raise (UserError if refused else MachineError)(
            f"{error}. Nothing was asked of the model under study."
        ) from None


def _is_here(judge: str) -> bool:
    return parts(judge)[0].partition("/")[0] in HERE
