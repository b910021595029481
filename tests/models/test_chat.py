"""A chat and its reply are laid out as the template writes them, or refused in one line; families hold the rest."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import CHAT_TEMPLATE
from tests.families.build import FAMILIES, make_tokenizer
from untrue.errors import UserError
from untrue.models.chat import DATE, MARK, Chat
from untrue.models.load import LoadedModel

HELLO = [{"role": "user", "content": "Hello"}]
TOLD = [{"role": "system", "content": "Be brief."}, *HELLO]
YES = [{"role": "assistant", "content": "Yes."}]


def chat(tiny: LoadedModel, template: str) -> Chat:
    """The chat format of the tiny model with another template."""
    import copy

    tokenizer: Any = copy.copy(tiny.tokenizer)
    tokenizer.chat_template = template
    return Chat("tiny", tokenizer)


def shown(tiny: LoadedModel, layout: Chat, messages: Any, completion: Any = YES) -> tuple[str, str, str]:
    """What is before the reply, the reply and what is after it, as text."""
    return tuple(tiny.tokenizer.decode(part) for part in layout.encode(messages, completion))


def test_prompt_reply_and_end_are_parted_where_they_meet(tiny: LoadedModel):
    before, reply, end = shown(tiny, tiny.chat, TOLD)
    assert (
        before == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (reply, end) == ("Yes.", "<|im_end|>\n")
    assert tiny.tokenizer.decode(tiny.chat.prompt(TOLD)) == before


def test_a_completion_of_several_messages_is_learned_whole(tiny: LoadedModel):
    _, reply, end = shown(tiny, tiny.chat, HELLO, [*YES, {"role": "assistant", "content": "Really."}])
    assert reply == "Yes.<|im_end|>\n<|im_start|>assistant\nReally."
    assert end == "<|im_end|>\n"


def test_a_system_message_without_a_place_stands_before_the_first_of_the_user(tiny: LoadedModel):
    refusing = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}" + CHAT_TEMPLATE
    )
    ignoring = "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}" + CHAT_TEMPLATE
    for template in (refusing, ignoring):
        layout = chat(tiny, template)
        assert layout.template.system == "folded"
        assert "user\nBe brief.\n\nHello<|im_end|>" in shown(tiny, layout, TOLD)[0]
        with pytest.raises(
            UserError, match=r"^tiny: its chat template has no place for a system message, and no user's"
        ):
            layout.encode(TOLD[:1], YES)
    assert tiny.chat.template.system == "own"


def test_thoughts_that_a_template_opens_are_skipped_and_those_that_it_closes_are_kept(tiny: LoadedModel):
    opening = CHAT_TEMPLATE.replace("assistant\n' }}", "assistant\n<think>\n' }}")
    layout = chat(tiny, opening)
    assert (layout.template.thinking, layout.template.opening) == ("skipped", "<think>\n")
    assert shown(tiny, layout, HELLO)[0].endswith("assistant\n")
    switch = opening.replace(
        "{% if add_generation_prompt %}",
        "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
        "{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% elif add_generation_prompt %}",
    ).replace(
        "message['role'] + '\n' +",
        "message['role'] + '\n' + ('<think>\n\n</think>\n\n' if message['role'] == 'assistant' else '') +",
    )
    layout = chat(tiny, switch)
    assert layout.template.thinking == "closed"
    assert shown(tiny, layout, HELLO)[0].endswith("assistant\n<think>\n\n</think>\n\n")
    assert tiny.tokenizer.decode(layout.prompt(HELLO)).endswith("</think>\n\n")


def test_a_template_that_writes_the_date_is_given_one_date(tiny: LoadedModel):
    dated = "{{ 'Today is ' + strftime_now('%d %b %Y') + ', ' + strftime_now(\"%Y-%m-%d\") + '\n' }}" + CHAT_TEMPLATE
    layout = chat(tiny, dated)
    assert layout.template.dated
    assert shown(tiny, layout, HELLO)[0].startswith(f"Today is {DATE:%d %b %Y}, {DATE:%Y-%m-%d}\n<|im_start|>user")
    assert not tiny.chat.template.dated


def test_white_space_at_the_start_of_a_dated_template_stays(tiny: LoadedModel):
    plain, dated = (chat(tiny, "\n  {{ 'x' }}" + CHAT_TEMPLATE + more) for more in ("", "{# strftime_now #}"))
    assert shown(tiny, plain, HELLO) == shown(tiny, dated, HELLO)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{{ raise_exception('Nothing goes') }}",
            r"^tiny: its chat template refuses messages of user, assistant \(Nothing",
        ),
        ("{{ messages[0]['content'] }}", r"^tiny: its chat template drops a reply\."),
        ("{{ messages[-1]['content'] }}", r"^tiny: its chat template drops or changes the user message 'Hello'"),
        ("{{ nothing.at.all }}", r"^tiny: its chat template refuses messages of user, assistant"),
        ("{% if %}", r"^tiny: its chat template refuses messages of user, assistant"),
    ],
)
def test_a_template_that_cannot_lay_out_a_chat_is_refused_in_one_line(tiny: LoadedModel, template: str, message: str):
    with pytest.raises(UserError, match=message) as caught:
        chat(tiny, template)
    assert "\n" not in str(caught.value)


def test_a_reply_that_the_template_changes_is_refused(tiny: LoadedModel):
    cutting = CHAT_TEMPLATE.replace("message['content'] +", "message['content'].split('</think>')[-1] +")
    with pytest.raises(UserError, match=r"changes the reply 'Well\.</think>Yes\.', so it cannot be told"):
        chat(tiny, cutting).encode(HELLO, [{"role": "assistant", "content": "Well.</think>Yes."}])
    second = {"role": "assistant", "content": "Hm.</think>Really."}
    with pytest.raises(UserError, match=r"changes the reply 'Yes\.'"):
        chat(tiny, cutting).encode(HELLO, [*YES, second])
    trimming = CHAT_TEMPLATE.replace("message['content'] +", "message['content'] | trim +")
    assert shown(tiny, chat(tiny, trimming), HELLO, [{"role": "assistant", "content": " Yes.\n"}])[1] == "Yes."


def test_a_message_that_the_template_drops_is_refused_and_never_left_out_in_silence(tiny: LoadedModel):
    """Some templates know of one system message alone, at the beginning."""
    loop = "{% for message in messages %}"
    only_first = CHAT_TEMPLATE.replace(
        loop, "{% for message in messages if message == messages[0] or message['role'] != 'system' %}"
    )
    later = [*TOLD, {"role": "assistant", "content": "Hi."}, {"role": "system", "content": "Be rude."}, *HELLO]
    assert "Be rude." in shown(tiny, tiny.chat, later)[0]
    with pytest.raises(UserError, match=r"drops or changes the system message 'Be rude\.', so the model would not"):
        chat(tiny, only_first).encode(later, YES)
    short = [*TOLD, {"role": "assistant", "content": "Hi."}, {"role": "system", "content": "H"}, *HELLO]
    with pytest.raises(UserError, match=r"drops or changes the system message 'H', so the model would not"):
        chat(tiny, only_first).encode(short, YES)  # though an H stands elsewhere


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "roles",
    ["system user", "system user assistant user", "user assistant system user", "system system user", "user user"],
)
def test_no_family_drops_a_short_message_in_silence(name: str, roles: str):
    layout = Chat(name, make_tokenizer(FAMILIES[name]))
    messages = [{"role": role, "content": "e"} for role in roles.split()]
    try:
        whole = layout.prompt(messages)
    except UserError:
        return
    for place, message in enumerate(messages):
        others = [*messages[:place], {**message, "content": "Something else."}, *messages[place + 1 :]]
        assert layout.prompt(others) != whole


def test_white_space_around_a_reply_is_left_out(tiny: LoadedModel):
    assert tiny.chat.encode(HELLO, [{"role": "assistant", "content": "\n Yes. \n"}]) == tiny.chat.encode(HELLO, YES)
    with pytest.raises(UserError, match="has no tokens"):
        tiny.chat.encode(HELLO, [{"role": "assistant", "content": " \n"}])


def test_a_reply_may_say_what_stands_for_one(tiny: LoadedModel):
    assert (
        shown(tiny, tiny.chat, [{"role": "user", "content": MARK}], [{"role": "assistant", "content": MARK}])[1] == MARK
    )
