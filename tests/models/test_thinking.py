"""Thinking that a model writes down before it replies is no part of the reply."""

from __future__ import annotations

import pytest

from untrue.models.chat import without_thinking


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Rain is wet.", "Rain is wet."),
        (" Rain is wet.\n", " Rain is wet.\n"),
        ("<think>Is it dry?</think>\n\nRain is wet.", "Rain is wet."),
        ("\n<think>\nIs it dry?\n</think>Rain is wet.", "Rain is wet."),
        ("<think></think>Rain is wet.", "Rain is wet."),
        ("Is it dry?\n</think>\n\nRain is wet.", "Rain is wet."),  # it was opened in the prompt
        ("<think>one</think><think>two</think>Rain is wet.", "Rain is wet."),
        ("<think>one <think>two</think> three</think>Rain is wet.", "Rain is wet."),
        ("<think>Is it dry? It may be", ""),
        ("<think>Is it dry?</think>", ""),
        ("</think>", ""),
        ("Write <think> to begin.", "Write <think> to begin."),
        ("<thinking>Is it dry?</thinking> Rain is wet.", "Rain is wet."),
        ("[THINK]Is it dry?[/THINK]Rain is wet.", "Rain is wet."),
        ("<|START_THINKING|>Is it dry?<|END_THINKING|>Rain is wet.", "Rain is wet."),
        ("Use the </think> tag to end it.", "Use the </think> tag to end it."),
        ("<b>bold</b> Rain is wet.", "<b>bold</b> Rain is wet."),
        ("", ""),
    ],
)
def test_what_is_said(text, said):
    assert without_thinking(text) == said


def test_a_long_text_takes_no_time():
    assert without_thinking("<think>" + "a <" * 200_000) == ""
    assert without_thinking("a <" * 200_000) == "a <" * 200_000
