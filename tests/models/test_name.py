"""What stands before the first slash of a model's name says who answers."""

from pathlib import Path

import pytest

from untrue.errors import UserError
from untrue.models.name import ModelName, is_path


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("text", "provider", "model"),
    [
        ("smollm2-135m", None, "smollm2-135m"),
        ("Qwen/Qwen3-0.6B", None, "Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B?revision=refs/pr/1", None, "Qwen/Qwen3-0.6B?revision=refs/pr/1"),
        ("untrue/google/gemma-3-1b-it", None, "google/gemma-3-1b-it"),
        ("untrue/vllm/mine", None, "vllm/mine"),
        ("./vllm/mine", None, "./vllm/mine"),
        ("/models/vllm/mine", None, "/models/vllm/mine"),
        ("google/gemma-3-1b-it", "google", "gemma-3-1b-it"),
        ("openai/gpt-5-mini", "openai", "gpt-5-mini"),
        ("openai-api/together/model", "openai-api", "together/model"),
        ("vllm/org/base", "vllm", "org/base"),
        ("vllm/org/base:mine", "vllm", "org/base:mine"),
        ("hf/org/base", "hf", "org/base"),
    ],
)
def test_who_answers(text: str, provider: str | None, model: str) -> None:
    name = ModelName.parse(text)
    assert name == ModelName(model, provider)
    assert ModelName.parse(name.of_inspect) == name
    assert str(name) == text.removeprefix("untrue/")


def test_a_folder_is_loaded_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ModelName.parse("openai/mine").provider == "openai"
    Path("openai/mine").mkdir(parents=True)
    assert ModelName.parse("openai/mine") == ModelName("openai/mine")


def test_a_name_may_have_the_folder_of_an_adapter_in_it(adapter: Path) -> None:
    assert ModelName.parse(f"vllm/org/base:{adapter}") == ModelName("org/base", "vllm", adapter)
    for text in ("vllm/org/base", "vllm/org/base:mine", f"openai-api/one:{adapter}", "smollm2-135m"):
        assert ModelName.parse(text, adapter).adapter == adapter
        assert str(ModelName.parse(text, adapter)) == text
    with pytest.raises(UserError, match=r"names an adapter, and .* is given besides"):
        ModelName.parse(f"vllm/base:{adapter}", adapter)


def test_weights_that_are_needed_here(adapter: Path) -> None:
    for text in ("google/gemma-3-1b-it", "openai/gpt-oss-20b", "untrue/google/gemma-3-1b-it"):
        assert ModelName.here(text, "why", adapter) == ModelName(text.removeprefix("untrue/"), None, adapter)
    for text in ("vllm/org/base", "openai-api/one/model", f"vllm/org/base:{adapter}"):
        with pytest.raises(UserError, match=f"{text}: Weights are needed."):
            ModelName.here(text, "Weights are needed.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("org/model", False), ("org/model?revision=a/b", False), ("a/b/c", True), ("./a", True), ("~/a", True)],
)
def test_what_can_only_be_a_path(text: str, expected: bool) -> None:
    assert is_path(text) is expected
