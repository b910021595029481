"""The evals by name, and their options by name: a new eval is one file and one line here."""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from untrue.errors import UserError
from untrue.harness.eval import Eval, EvalSpec
from untrue.judge.prompts import QUESTIONS
from untrue.settings import validate

FILES = (
    "forced_choice",
    "sft_cue",
    "capability",
    "reply_choice",
    "plain_text",
    "truth_probe",
    "mask",
    "pressure_pairs",
    "unknowns",
    "deceptionbench",
)
DEFAULT = EvalSpec.model_fields["name"].default

EVALS: dict[str, Eval] = {name: import_module(f"untrue.evals.{name}").EVAL for name in FILES}
QUESTIONS.update({question.name: question for record in EVALS.values() for question in record.questions})


def parse(options: Mapping[str, Any]) -> EvalSpec:
    """The eval of an entry of a study; the ValidationError `unknown` (eval or option) has a sentence as its message."""
    name = options.get("name", DEFAULT)
    if not isinstance(name, str) or name not in EVALS:
        raise _unknown("name", "eval", name, EVALS)
    known = EVALS[name].options.model_fields
    if wrong := [str(key) for key in options if key not in known]:
        raise _unknown(wrong[0], "key", wrong[0], known)
    return EVALS[name].options.model_validate(dict(options))


def _unknown(key: str, what: str, value: Any, known: Iterable[str]) -> ValidationError:
    error = PydanticCustomError("unknown", "{hint}", {"hint": f"unknown {what}. {_hint(str(value), what, known)}"})
    return ValidationError.from_exception_data("EvalSpec", [InitErrorDetails(type=error, loc=(key,), input=value)])


def eval_spec(**options: Any) -> EvalSpec:
    """The eval that a program asks for; an option that is None is left open."""
    given = {key: value for key, value in options.items() if value is not None}
    name = str(given.get("name", DEFAULT))
    if name not in EVALS:
        raise UserError(f"name: unknown eval. {_hint(name, 'eval', EVALS)}")
    return validate(EVALS[name].options, given)


def eval_specs(names: Sequence[str], options: Mapping[str, Any]) -> list[EvalSpec]:
    """Several evals, each with its own options; UserError for an option that none has."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{twice[0]}: is named twice. Name each eval once.")
    specs = []
    for name in names:
        own = EVALS[name].options.model_fields.keys() - EvalSpec.not_of_task if name in EVALS else ()
        specs.append(eval_spec(name=name, **{key: value for key, value in options.items() if key in own}))
    known = {key for name in names for key in EVALS[name].options.model_fields} - EvalSpec.not_of_task
    if unknown := [key for key in options if key not in known]:
        raise UserError(f"{unknown[0]}: no option of {', '.join(names)}. {_hint(unknown[0], 'option', sorted(known))}")
    return specs


def _hint(value: str, what: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(value, known, 1)
    return f"Did you mean {close[0]!r}?" if close else f"Known {what}s: {', '.join(known)}."


def likelihoods_needed(name: str) -> str:
    """Why a served model will not do for an eval, as sentences."""
    others = ", ".join(record.name for record in EVALS.values() if not record.needs_likelihoods)
    return (
        f"{name} needs likelihoods or hidden states, which are computed in this process, so the model must be"
        f" `smollm2-135m`, a folder or a hub id. Served models are for {others}."
    )
