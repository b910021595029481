"""Which base the two adapters of a comparison are put on, and which pairs are refused."""

from __future__ import annotations

from pathlib import Path

from untrue.errors import UserError
from untrue.models.adapter import base_of, config_of, is_adapter
from untrue.models.name import ModelName

# What to do where the base that an adapter names is not there.
GIVE = "Give --model (`untrue/ID` for a hub id)."


def own_base(adapter: str, model: str | None = None) -> str:
    """The base of an adapter that is given alone."""
    if model:
        name = ModelName.parse(model)
        if name.takes_adapters or (is_adapter(Path(adapter)) and not name.provider):
            return model
    if not is_adapter(Path(adapter)):
        why = "it has no adapter_config.json" if Path(adapter).exists() else "there is no such folder"
        raise UserError(
            f"{adapter}: is no adapter, so it has no base to be compared with ({why}). Check the path, or name a"
            " baseline before it."
        )
    base = base_of(Path(adapter), otherwise=GIVE)
    return f"untrue/{base}" if ModelName.parse(base).provider else base


def base_of_first(first: object, second: object, model: str | None) -> str | None:
    """What the first adapter is put on, if it is not the base that it names itself.

    That is a server which takes any adapter, or what is loaded here in place of a base that both adapters name. On
    another base than its own the baseline would be worse than it is, and the candidate look good.
    """
    if model is None or ModelName.parse(model).takes_adapters:
        return model
    if ModelName.parse(model).provider:
        return None
    named = _named_base(first)
    return model if named and named == _named_base(second) else None


def used_for_one(model: str) -> str:
    """What to do where the base of the first adapter is not there, and `--model` is not used for it."""
    why = "since the two do not name the same base"
    if ModelName.parse(model).provider:
        why = f"since it is served (a hub id is given as untrue/{model})"
    return (
        f"--model {model} is used for the candidate only, {why}. Measure the baseline by itself (`untrue eval"
        " --adapter`), and give its log."
    )


def refuse_other_base(baseline: tuple[str, str | None], candidate: tuple[str, str | None]) -> None:
    """Refuse adapters of two base models."""
    if baseline[1] and candidate[1] and baseline[1] != candidate[1]:
        raise UserError(
            f"{candidate[0]} is an adapter of another base model than {baseline[0]} (hash of its weights"
            f" {candidate[1]}, not {baseline[1]}). Compare adapters of one base."
        )


def _named_base(source: object) -> tuple[str, str | None] | None:
    """The base that an adapter names, a folder or hub id, and its revision; None for none and for no adapter."""
    if not isinstance(source, str) or not is_adapter(Path(source)):
        return None
    config = config_of(Path(source))
    base = config.get("base_model_name_or_path")
    return (base, config.get("revision")) if base else None
