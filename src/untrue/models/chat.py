"""How a model's chats are laid out as tokens: one way, for training, scoring and generation alike.

A reply follows what the template writes before an assistant's last reply, and is tokenised together with it, so that an
eval scores the tokens that training would teach. Replies have no thoughts: they follow an empty block of thoughts if
the template closes one (Qwen 3), else no block (DeepSeek R1). If a template refuses or ignores a system message, that
stands before the user's first message. A template that writes today's date gets `DATE`.
"""

import datetime
import re
import string
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from jinja2 import TemplateError

from untrue.errors import UserError, one_line
from untrue.files import content_hash
from untrue.models.families import THINK_CLOSE, THINK_OPEN, THINKING_OFF, THINKING_TAGS

DATE = datetime.date(2024, 7, 26)  # the one that Llama 3.2's own template falls back to
LAYOUT_VERSION = 2  # raised when the same template would give other tokens
KEPT_LAYOUTS = 1000  # several replies to one chat are laid out one after another

# Stands for a reply, or for a system message, while a template is looked at. No template writes it.
MARK = "Xylophone"

# Two replies: a space before them may be part of the first token of the one and not of the other's.
REPLY, OTHER_REPLY = "A", "7"

Message = Mapping[str, Any]


class Turn(NamedTuple):
    """A chat and the reply to it, as token ids.

    Attributes:
        reply: With a space before it that the template writes.
        end: Tokens that the template writes after it, such as the end of the turn.
    """

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    end: tuple[int, ...]


class Template(NamedTuple):
    """What a chat template does that a user should know.

    Attributes:
        system: Whether it has a place of its `own` for a system message, or that is `folded` into the user's first one.
        thinking: `closed`: an empty block of thoughts stands before each reply; `skipped`: the template would open a
            block.
        opening: That empty block, or what the template would open.
        dated: Whether it writes today's date.
        merged: The end of the prompt that is part of a reply's first token, such as a space.
    """

    system: Literal["own", "folded"]
    thinking: Literal["none", "closed", "skipped"]
    opening: str
    dated: bool
    merged: str


class Chat:
    """The chat format of one model; `hash` covers all that determines the layout, except for the tokenizer."""

    def __init__(self, name: str, tokenizer: Any):
        """Look at the chat template of a fast tokenizer; UserError if it is missing or cannot lay out a reply."""
        self._name, self._tokenizer = name, tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise UserError(
                f"{name}: its tokenizer has no chat template."
                " Use an instruct model, or put a chat_template.jinja into its folder."
            )
        if not getattr(tokenizer, "is_fast", False):
            raise UserError(
                f"{name}: its tokenizer has no tokenizer.json, so it cannot be told where a reply begins."
                " Convert it to a fast tokenizer first."
            )
        try:
            self._text: str = tokenizer.get_chat_template()
        except ValueError as error:
            raise UserError(f"{name}: {one_line(error)}.") from None
        self._kept_prompt = lru_cache(KEPT_LAYOUTS)(self._shared_tokens)
        self._kept_parts = lru_cache(KEPT_LAYOUTS)(self._checked_parts)
        self._kept_marks = lru_cache(KEPT_LAYOUTS)(self._head_of_marks)
        self._folds = False
        self.template = self._look()
        self.hash = content_hash(f"{LAYOUT_VERSION} {DATE} {self._text}")

    def encode(self, messages: Sequence[Message], completion: Sequence[Message]) -> Turn:
        """Lay out a chat and its completion (one message or several), as training does.

        White space around each reply is left out: it would change the tokens beside it. UserError if the template
        refuses the messages or changes the reply, or the reply is empty.
        """
        chat = self._folded(messages)
        head, tail = self._around(chat)
        replies = [str(message["content"]).strip() for message in completion]
        stripped = [{**message, "content": reply} for message, reply in zip(completion, replies, strict=True)]
        text = self._render([*chat, *stripped])
        end = len(text) - len(tail)
        if not all(replies):
            raise UserError("the reply '' has no tokens, so it has no likelihood.")
        written = text[len(head) : end]
        in_order = ".*?".join(map(re.escape, replies))
        unchanged = written == replies[0] if len(replies) == 1 else re.search(in_order, written, re.DOTALL)
        if not (text.startswith(head) and text.endswith(tail) and unchanged):
            raise UserError(
                f"{self._name}: its chat template changes the reply {_shortened(replies[0])!r}, so it cannot be told"
                " what is learned. Take tags of thoughts, such as </think>, out of it."
            )
        ids, offsets = self._tokens(text)
        begin = agreed(ids, self.prompt(messages))
        last = next((place for place in range(begin, len(ids)) if offsets[place][0] >= end), len(ids))
        return Turn(tuple(ids[:begin]), tuple(ids[begin:last]), tuple(ids[last:]))

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The tokens that stand before every reply; UserError if the template refuses the messages."""
        return self._kept_prompt(*self._around(self._folded(messages)))

    def _shared_tokens(self, head: str, tail: str) -> tuple[int, ...]:
        ids, offsets = self._tokens(f"{head}{REPLY}{tail}")
        begin = next(place for place, (_, stop) in enumerate(offsets) if stop > len(head))
        return tuple(ids[: agreed(ids[:begin], self._tokens(f"{head}{OTHER_REPLY}{tail}")[0])])

    def _tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return encoded["input_ids"], encoded["offset_mapping"]

    def served_prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The tokens after which a server generates a reply, with default thinking; UserError if refused."""
        text = self._render(messages, add_generation_prompt=True, switches={})
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _look(self) -> Template:
        question = [{"role": "user", "content": "Hello"}]
        instructed = [{"role": "system", "content": MARK}, *question]
        self._around(question)  # a template that cannot even do this is refused
        try:
            self._around(instructed)
        except UserError:  # it refuses a system message, or drops it without a word
            self._folds = True
            self._around(self._folded(instructed))
        head, _ = self._around(question)
        thinking, opening = self._thinking(question, head)
        prompt = self.prompt(question)
        merged = head.removeprefix(self._tokenizer.decode(prompt)) if prompt else head
        return Template(
            system="folded" if self._folds else "own",
            thinking=thinking,
            opening=opening,
            dated=any(
                self._render(chat, date=datetime.date(2001, 2, 3)) != self._render(chat)
                for chat in (question, self._folded(instructed))
            ),
            merged=merged if len(merged) < len(head) else "",
        )

    def _thinking(self, question: Sequence[Message], head: str) -> tuple[Literal["none", "closed", "skipped"], str]:
        """How the generation prompt with default thinking differs from what stands before a reply."""
        default = self._render(question, add_generation_prompt=True, switches={})
        thinking, plain = (text.rpartition(question[-1]["content"])[2].rstrip(" ") for text in (default, head))
        if thinking.startswith(plain) and thinking != plain:
            return "skipped", thinking.removeprefix(plain)
        opening = plain.removeprefix(thinking) if plain.startswith(thinking) else plain
        if not opening.strip() and THINK_CLOSE in plain:  # of a template that always closes it
            opening = plain[plain.find(THINK_OPEN) :]
        return ("closed" if opening.strip() else "none"), opening

    def _folded(self, messages: Sequence[Message]) -> list[Message]:
        """The messages, with the system's put before the user's first if the template has no place for it."""
        if not self._folds or not messages or messages[0]["role"] != "system":
            return list(messages)
        system, *rest = messages
        if not rest or rest[0]["role"] != "user":
            raise UserError(
                f"{self._name}: its chat template has no place for a system message, and no user's message follows it."
            )
        return [{**rest[0], "content": f"{system['content']}\n\n{rest[0]['content']}"}, *rest[1:]]

    def _around(self, messages: Sequence[Message]) -> tuple[str, str]:
        return self._kept_parts(tuple((message["role"], message["content"]) for message in messages))

    def _checked_parts(self, messages: tuple[tuple[str, str], ...]) -> tuple[str, str]:
        head, tail = self._parts(messages)
        # What is short may stand elsewhere too, so marks show which messages a chat of these roles keeps.
        marked = self._kept_marks(tuple(role for role, _ in messages))
        for place, (role, content) in enumerate(messages):
            spoken = without_thinking(str(content)).strip()
            if spoken not in head or _mark(place) not in marked:
                raise UserError(
                    f"{self._name}: its chat template drops or changes the {role} message {_shortened(spoken)!r}, so"
                    " the model would not read it. Leave it out, or put it into the user's message."
                )
        return head, tail

    def _head_of_marks(self, roles: tuple[str, ...]) -> str:
        return self._parts([(role, _mark(place)) for place, role in enumerate(roles)])[0]

    def _parts(self, messages: Sequence[tuple[str, str]]) -> tuple[str, str]:
        turns = [*messages, ("assistant", MARK)]
        text = self._render([{"role": role, "content": content} for role, content in turns])
        head, mark, tail = text.rpartition(MARK)
        if not mark:
            raise UserError(f"{self._name}: its chat template drops a reply. Mend it, or use another model.")
        return head, tail

    def _render(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = False,
        switches: Mapping[str, Any] = THINKING_OFF,
        date: datetime.date = DATE,
    ) -> str:
        try:
            return self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                chat_template=_dated(self._text, date),
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **switches,
            )
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            roles = ", ".join(str(message["role"]) for message in messages)
            raise UserError(
                f"{self._name}: its chat template refuses messages of {roles} ({one_line(error)})."
            ) from None


def _mark(place: int) -> str:
    return f"{MARK} {place}."


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


def agreed(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common beginning of two sequences."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (left, right) in enumerate(pairs) if left != right), min(len(first), len(second)))


def _dated(template: str, date: datetime.date) -> str:
    """A template with a fixed day: its own `strftime_now` hides the one that asks the clock."""
    if "strftime_now" not in template:
        return template
    moment = datetime.datetime.combine(date, datetime.time(12))
    codes = {f"%{letter}": moment.strftime(f"%{letter}") for letter in string.ascii_letters if letter not in "sZz"}
    codes |= {"%-d": str(date.day), "%-m": str(date.month), "%-H": "12", "%-I": "12", "%-M": "0", "%-S": "0"}
    replaced = "".join(f" | replace({code!r}, {text!r})" for code, text in codes.items())
    # The empty expression ends the line, so that the white space at the start of the template stays as it is.
    return "{% macro strftime_now(format) %}{{ format" + replaced + " }}{% endmacro %}{{ '' }}" + template


def _leading_thoughts(closes_if: str) -> re.Pattern[str]:
    """Thinking at the beginning of a text: opened there, or in the prompt, so that it is only closed."""
    parts = []
    for opening, closing in THINKING_TAGS.items():
        opens, closes = re.escape(opening), re.escape(closing)
        parts += [rf"{opens}.*?(?:{closes}|\Z)", rf"(?:(?!{opens}).)*?{closes}{closes_if}"]
    return re.compile(rf"\s*(?:{'|'.join(parts)})", re.DOTALL)


# A tag that only closes begins the reply, unless the sentence goes on after a space: then it speaks of the tag.
_FIRST_THOUGHTS = _leading_thoughts(r"(?![ \t]+\w)")
_INNER_THOUGHTS = _leading_thoughts("")  # after thinking, such a tag closes thinking inside thinking


def without_thinking(text: str) -> str:
    """A text without the thinking at its beginning, which may be opened in the prompt; empty if it is never closed."""
    said, leading = text, _FIRST_THOUGHTS.match(text)
    while leading:
        said = said[leading.end() :]
        leading = _INNER_THOUGHTS.match(said)
    return text if said == text else said.strip()
