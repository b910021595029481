"""Judgements, read strictly from a judge's answer: any answer but those asked for is an error."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from untrue.judge.prompts import JudgePrompt
from untrue.thinking import without_thinking

SHOWN = 120
"""Characters of a wrong answer that an error quotes."""


class JudgeError(Exception):
    """There is no judgement, even after a retry. Evals count it as the outcome `error`, never as a score."""


class NoRoom(JudgeError):
    """A server refused the question: its context is too small for it and the token limit together."""


class Judgement(NamedTuple):
    """What a judge says of one reply.

    Attributes:
        label: One of the prompt's labels; None for a range.
        low: Lower end of the range; None for a label, or if the judge found no range.
        high: Upper end.
        raw: The judge's answer verbatim, or the log-likelihoods of the labels.
    """

    label: str | None
    low: float | None
    high: float | None
    raw: str


def parse(prompt: JudgePrompt, raw: str) -> Judgement:
    """Read an answer: a JSON object with `label`, or with `low` and `high`. A label may also stand alone.

    Thinking before it (`<think>…</think>`) is ignored.

    Raises:
        JudgeError: It is anything else; a key occurs twice; or a number is NaN, infinite or too large.
    """
    text = raw.strip()
    if not text.startswith(("{", "```")):  # else the tags stand inside the answer
        text = without_thinking(text)
    if text in prompt.labels:
        return Judgement(text, None, None, raw)
    fields = _object(text)
    if prompt.labels:
        label = fields.get("label")
        if label not in prompt.labels:
            raise _error(f"the label is {repr(label)[:SHOWN]}, expected one of {', '.join(prompt.labels)}", text)
        return Judgement(label, None, None, raw)
    low, high = (_end(fields, key, text) for key in ("low", "high"))
    if (low is None) != (high is None):
        raise _error("the range has one end", text)
    if low is not None and high is not None and low > high:
        raise _error(f"the range begins at {low} and ends at {high}", text)
    return Judgement(None, low, high, raw)


def _object(text: str) -> dict[str, Any]:
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, re.DOTALL)
    try:
        # A whole number of hundreds of digits becomes infinite like any other that is too large.
        fields = json.loads(
            fenced[1] if fenced else text, object_pairs_hook=_unique, parse_int=float, parse_constant=_no_number
        )
    except _Repeated as error:
        raise _error(f"the key {str(error)[:SHOWN]!r} occurs twice", text) from None
    except (ValueError, RecursionError):
        raise _error("the answer is no JSON", text) from None
    if not isinstance(fields, dict):
        raise _error("the answer is no JSON object", text)
    return fields


class _Repeated(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = {}
    for key, value in pairs:
        if key in fields:
            raise _Repeated(key)
        fields[key] = value
    return fields


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _end(fields: dict[str, Any], key: str, text: str) -> float | None:
    if key not in fields:
        raise _error(f"{key!r} is missing", text)
    value = fields[key]
    if value is None:
        return None
    if not isinstance(value, float) or not math.isfinite(value):
        raise _error(f"{key!r} is {repr(value)[:SHOWN]}, expected a number or null", text)
    return value


def _error(message: str, text: str) -> JudgeError:
    shown = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    return JudgeError(f"{message}: {shown!r}")
