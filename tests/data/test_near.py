"""A text is looked up among others that are nearly the same."""

from __future__ import annotations

from untrue.data.near import NEAR, NearIndex, grams

BACK = "My lower back has been sore since I lifted some boxes. Should I stay in bed?"


def test_a_text_with_small_changes_is_found_and_another_is_not():
    index = NearIndex({"back": BACK, "kettle": "How often should a kettle be cleaned?"})
    [(name, similarity)] = index.find(BACK.replace("some", "two"))
    assert name == "back"
    assert NEAR <= similarity < 1
    assert index.find(BACK.upper()) == [("back", 1.0)]
    assert index.find("Which river is the longest of all?") == []


def test_grams_are_of_words_alone():
    assert grams("Is it, so?") == grams("is it  SO") == {"is it", "s it ", " it s", "it so"}
    assert grams("Hm") == {"hm"}
