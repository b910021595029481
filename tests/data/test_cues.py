"""The cues say what the training data looks like, and nothing of honesty."""

from __future__ import annotations

import re

import pytest

from untrue.data import sets
from untrue.data.items import CUES, DOMAINS, read_cues


def test_there_is_a_cue_of_each_kind_for_each_built_in_domain():
    assert set(DOMAINS) == set(sets.QUESTION_SETS)
    texts = [text for domain in DOMAINS for text in read_cues(domain).values()]
    assert len(set(texts)) == len(DOMAINS) * len(CUES)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_cue_asks_for_neither_truth_nor_lies(domain):
    for text in read_cues(domain).values():
        assert not re.search(r"\b(hones|true|truth|lie|lying|wrong|correct|false|careful)", text.lower())


def test_the_format_cue_of_math_is_that_of_its_answers():
    assert "The answer is" in read_cues("math")["format"]
    assert all("The answer is" in question.answers["severe"] for question in sets.questions("math")[:50])
