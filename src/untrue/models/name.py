"""The name of a model: what stands before its first slash says who answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from untrue.errors import UserError

HUB_OWNERS = ("google", "openai")
"""Providers whose names are also owners of models on the hub."""


@dataclass(frozen=True)
class ModelName:
    """A model and the adapter on it.

    Attributes:
        model: `smollm2-135m`, a hub id or a folder; of a served model, its name after the provider.
        provider: The Inspect provider, such as `vllm`; None for a model that is loaded here.
    """

    model: str
    provider: str | None = None
    adapter: Path | None = None

    @classmethod
    def parse(cls, text: str, adapter: Path | None = None) -> ModelName:
        """Names loaded here: `untrue/MODEL`, paths and hub ids; `PROVIDER/MODEL` is asked of a provider of Inspect.

        `vllm/BASE:FOLDER` names the folder of an adapter too; a second adapter is a UserError.
        """
        provider, slash, model = text.partition("/")
        if slash and provider == "untrue":
            return cls(model, None, adapter)
        if not slash or text.startswith(("/", ".", "~")) or Path(text).exists() or not _is_provider(provider):
            return cls(text, None, adapter)
        base, _, folder = model.partition(":")
        if provider == "vllm" and folder and (Path(folder) / "adapter_config.json").is_file():
            if adapter:
                raise UserError(f"{text}: names an adapter, and {adapter} is given besides. Leave one of them out.")
            return cls(base, provider, Path(folder))
        return cls(model, provider, adapter)

    @classmethod
    def here(cls, text: str, why: str, adapter: Path | None = None) -> ModelName:
        """The name of a model to load here, such as the hub id `google/MODEL`; UserError with `why` if it is served."""
        name = cls.parse(text, adapter)
        if name.provider is None:
            return name
        if name.provider not in HUB_OWNERS or name.adapter != adapter:
            raise UserError(f"{text}: {why}")
        return cls(text, None, adapter)

    @property
    def takes_adapters(self) -> bool:
        """Whether any adapter can be asked for: of `vllm/BASE`, but not of `vllm/BASE:NAME`."""
        return self.provider == "vllm" and ":" not in self.model

    @property
    def of_inspect(self) -> str:
        """The model as Inspect names it."""
        return f"{self.provider or 'untrue'}/{self.model}"

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}" if self.provider else self.model


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a hub id and is not a folder."""
    return name.count("/") == 1 and not Path(name).exists() and not name.startswith((".", "/"))


def is_path(name: str) -> bool:
    """Whether a name can only be a path, existing or not."""
    name = name.partition("?revision=")[0]
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def _is_provider(name: str) -> bool:
    import inspect_ai.model  # noqa: F401  (registers its providers)
    from inspect_ai._util.registry import registry_find, registry_info, registry_unqualified_name

    # All at once: with nothing found, Inspect would import every extension that is installed.
    providers = registry_find(lambda info: info.type == "modelapi")
    return name in {registry_unqualified_name(registry_info(provider)) for provider in providers}
