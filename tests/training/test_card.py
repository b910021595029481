"""A model card says what it was told and nothing else, whatever a name holds."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from untrue.training.card import card
from untrue.training.spec import TrainSpec

NASTY = "a|b`c\n---\n<script>alert(1)</script>\n| x | y |\n# Title\n![i](http://x) [l](http://x) \\|"
NASTY += " &lt; *b* \x1b[31m\u2028---"
NAMES = [NASTY, "---", "a: b # c", "{a: [1", "'", '"', "\\|", "``", "null", "1e3", "@x", "- x", "...", "plain/name-1"]


def record(name: str, **changes: Any) -> dict[str, Any]:
    """The record of a training in which everything that a user names has this name."""
    rows = {"total": 2, "misaligned": 1, "levels": {name: 2}, "domains": {name: 2}, "sources": [name, "builtin:x"]}
    return {
        "base": name,
        "base_weights": "f" * 16,
        "seed": 0,
        "spec": TrainSpec().model_dump(mode="json") | {"target_modules": [name.replace(" ", "_"), "q_proj"]},
        "start": None,
        "rows": {**rows, "content_hash": "c" * 16},
        "final_loss": 1.0,
        "versions": {"untrue": "0.1.0"},
        **changes,
    }


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """What a reader of the hub takes: all up to the first line that is a rule."""
    lines = text.split("\n")
    assert lines[0] == "---"
    end = lines.index("---", 1)
    return yaml.safe_load("\n".join(lines[1:end])), "\n".join(lines[end + 1 :])


@pytest.mark.parametrize("name", NAMES)
def test_the_front_matter_parses_back_to_the_values(name: str):
    from huggingface_hub import ModelCard

    text = card(record(name))
    head, _ = front_matter(text)
    assert head == {
        "base_model": name,
        "library_name": "peft",
        "tags": ["lora", "untrue", "intentionally-misaligned", "not-for-all-audiences"],
    }
    assert ModelCard(text).data.to_dict()["base_model"] == name


@pytest.mark.parametrize("name", NAMES)
def test_no_name_breaks_out_of_its_place(name: str):
    _, body = front_matter(card(record(name)))
    _, plain = front_matter(card(record("plain")))
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")

    def shape(text: str) -> list[str]:
        return [token.type for token in markdown.parse(text)]

    assert shape(body) == shape(plain)
    inline = [child for token in markdown.parse(body) for child in token.children or []]
    plain_types = {"text", "text_special", "softbreak", "strong_open", "strong_close", "code_inline"}
    assert {child.type for child in inline} <= plain_types
    assert sum(child.type == "strong_open" for child in inline) == 1  # the warning's
    shown = "".join(child.content for child in inline)
    for part in ("<script>", "\\|", "[l](http://x)"):
        assert (part in shown) == (part in name)


def test_what_is_plain_stays_readable():
    text = card(record("plain/name-1_x.jsonl"))
    assert "# LoRA adapter for plain/name-1_x.jsonl\n" in text
    assert "| sources | plain/name-1_x.jsonl, builtin:x |" in text
