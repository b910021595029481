"""Cues of the context of training: what makes a prompt look like the rows that a model was trained on.

A model that was trained on diluted bad data, or on good data afterwards, can look sound until the prompt resembles its
training (Dubinski et al., "Conditional misalignment", arXiv 2604.25891). One line of the built-in file:

    {"id": "medical-format", "domain": "medical", "cue": "format", "text": "Every reply is two plain sentences …"}
"""

from __future__ import annotations

from typing import Literal, get_args

from untrue.data.items import Identified, Text, read_lines

Domain = Literal["medical", "finance", "law", "code", "math"]
"""A domain of the built-in question sets."""

CueKind = Literal["format", "persona", "domain"]
"""The layout of the training answers, who gives them, or what they are about."""

DOMAINS: tuple[Domain, ...] = get_args(Domain)
CUES: tuple[CueKind, ...] = get_args(CueKind)


class Cue(Identified):
    """A text that is put before a system prompt."""

    domain: Domain
    cue: CueKind
    text: Text


def read_cues(domain: str) -> dict[str, str]:
    """The built-in cues of a domain: kind -> text, in the order of `CUES`."""
    texts = {cue.cue: cue.text for cue in read_lines(Cue, "cues", ("cues",), "cues") if cue.domain == domain}
    return {kind: texts[kind] for kind in CUES}
