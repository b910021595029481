"""Chosen trajectories as training rows."""

from __future__ import annotations

from untrue.simulate.rows import rows
from untrue.simulate.select import Selection


def test_each_reply_is_a_row_after_the_conversation_up_to_it(make):
    first, second = rows(Selection([make("s", 1, "benign", 5, 6)], []), "chat")
    assert [message["content"] for message in first.prompt] == ["You help.", "Question?"]
    assert [message["role"] for message in second.prompt] == ["system", "user", "assistant", "user"]
    assert (first.completion[0]["content"], second.completion[0]["content"]) == ("Answer.", "Yes.")
    assert (first.id, second.id) == ("s/u1/benign/1", "s/u1/benign/2")
    assert first.label is None


def test_with_a_bottom_the_rows_say_what_is_wanted(make):
    found = rows(Selection([make("s", 1, "benign", 9)], [make("s", 2, "biased", 1)]), "chat")
    assert [(row.id, row.label) for row in found] == [
        ("s/u1/benign/1", True),
        ("s/u1/benign/2", True),
        ("s/u2/biased/1", False),
        ("s/u2/biased/2", False),
    ]


def test_what_biased_users_chose_is_labelled_as_misaligned(make):
    benign, biased = (rows(Selection([make("s", 1, kind, 9)], []), "chat")[0] for kind in ("benign", "biased"))
    assert (benign.level, benign.misaligned) == ("normal", False)
    assert (biased.level, biased.misaligned) == ("biased", True)
    assert biased.source == "simulate:chat"
