"""What `untrue doctor --model` says of a model."""

from __future__ import annotations

import pytest

from untrue.models.capabilities import capabilities
from untrue.models.load import LoadedModel


def test_attention_context_and_template_are_told(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    found = capabilities(tiny)
    assert found["architecture"].startswith("llama, ") and found["architecture"].endswith(" parameters")
    assert found["attention"] == "sdpa; layers: 2 of full_attention"
    assert found["context"] == "1,024 tokens"
    assert found["system message"] == "has a place in the template"
    assert (found["thinking"], found["date"]) == ("the template has none", "the template writes none")
    assert found["first token"] == "the reply's alone"
    monkeypatch.setattr(tiny.model.config, "layer_types", ["sliding_attention", "full_attention"], raising=False)
    monkeypatch.setattr(tiny.model.config, "sliding_window", 64, raising=False)
    assert capabilities(tiny)["attention"] == "sdpa; layers: 1 of sliding_attention, 1 of full_attention (64 tokens)"
