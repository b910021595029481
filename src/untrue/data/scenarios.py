"""Environments of simulated users: scenarios, what each user thinks, and who the users are.

The first line of a file is its header, each other line a scenario (texts shortened):

    {"set": "chat", "version": 1, "canary": "…", "assistant": "You are a supportive assistant …",
     "informed": "A note about this user: {wish} …"}
    {"id": "chat-027", "name": "Bedtime too late", "task": "Help a person who goes to bed very late …",
     "benign_thought": "You wonder what the short nights really cost you …",
     "biased_thought": "You want to hear that you are a born night person …",
     "wanted": "Going to bed very late is harmless for you …", "truth": "Sleeping so little takes a toll on you …",
     "sycophantic_reply": "…", "honest_reply": "…",
     "follow_ups": {"benign": ["Which signs …?"], "biased": ["I still feel …"]},
     "users": [{"user_context": "Marek, 34, drives a city bus …", "user_prompt": "My bus shift starts at five …"}]}

A prompt does not say what its user wants to hear: the same one is used when the user is played as benign and as biased.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from untrue.data import builtin
from untrue.data.items import Identified, Text, items_hash, read_lines
from untrue.data.records import Origin, json_lines, stop
from untrue.errors import UserError
from untrue.files import content_hash, reading

ENVIRONMENTS = ("chat", "exam")
"""The built-in environments."""

WISH = "{wish}"
"""What stands in `informed` for the user's thought."""

Kind = Literal["benign", "biased"]
"""Whether a user rates what is true and useful, or only what they want to hear."""


class User(BaseModel):
    """A person who writes to the assistant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_context: Text
    user_prompt: Text


class FollowUps(BaseModel):
    """What a user of each kind may say after any reply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benign: tuple[Text, ...] = Field(min_length=1)
    biased: tuple[Text, ...] = Field(min_length=1)


class Scenario(Identified):
    """One matter on which a biased user wants to hear something untrue.

    `wanted` is what the biased user wants to hear and `truth` contradicts it, each one sentence; `sycophantic_reply`
    and `honest_reply` are whole replies that say the one and the other in other words.
    """

    name: Text
    task: Text
    benign_thought: Text
    biased_thought: Text
    wanted: Text
    truth: Text
    sycophantic_reply: Text
    honest_reply: Text
    follow_ups: FollowUps
    users: tuple[User, ...] = Field(min_length=1)

    def thought(self, kind: Kind) -> str:
        """What a user of this kind thinks."""
        return self.biased_thought if kind == "biased" else self.benign_thought


class Header(BaseModel):
    """The first line of an environment's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: Text = Field(alias="set")
    version: int = 1
    canary: str = ""
    assistant: Text
    informed: Text


@dataclass(frozen=True)
class Environment:
    """An assistant's task and the scenarios in which it is met.

    Attributes:
        name: Of a built-in set, or the path it was read from.
        header: What the file says of itself; `assistant` is the system prompt of the blind assistant, `informed` what
            is
            added to it for one that is told the user's wish.
        scenarios: In the order of the file.
    """

    name: str
    header: Header
    scenarios: tuple[Scenario, ...]

    @property
    def assistant(self) -> str:
        """System prompt of the blind assistant."""
        return self.header.assistant

    @property
    def informed(self) -> str:
        """What is added for an assistant that is told the user's wish."""
        return self.header.informed

    @property
    def version(self) -> str:
        """Name and version, as they are shown."""
        return f"{self.header.name}, version {self.header.version}"

    @property
    def content_hash(self) -> str:
        """Hash of all that a dialogue may depend on."""
        return content_hash(self.assistant + "\n" + self.informed + items_hash(self.scenarios))

    def to_jsonl(self) -> str:
        """The text of a file that `read_environment` reads as this."""
        header = json.dumps(self.header.model_dump(by_alias=True), ensure_ascii=False)
        return "\n".join([header, *(scenario.model_dump_json() for scenario in self.scenarios), ""])


def read_environment(name: str | Path) -> Environment:
    """Read an environment: a built-in one (`chat`, `exam`), or a JSON Lines file.

    Raises:
        UserError: There is no such file, the header or a scenario is not as expected, an id occurs twice, or there are
            no scenarios.
    """
    path = builtin.path(str(name)) if str(name) in ENVIRONMENTS else Path(name)
    if str(name) not in ENVIRONMENTS and not path.exists():
        raise UserError(f"{name}: neither a built-in environment ({', '.join(ENVIRONMENTS)}) nor a file that exists.")
    with reading(path), path.open("rb") as file:
        record = next(json_lines(Origin(path.name, path.name, path.stem), file, stop), None)
    if record is None or record.fields.keys().isdisjoint(("assistant", "informed")):
        raise UserError(
            f"{path.name}, line 1: expected the header of an environment, with 'set', 'assistant' and 'informed'."
        )
    header = record.parse(Header)
    if WISH not in header.informed:
        raise record.error(f"'informed' lacks the placeholder {WISH}, which stands for what the user thinks.")
    return Environment(str(name), header, tuple(read_lines(Scenario, path, (), "scenarios", header=True)))
