"""A small server on localhost that speaks vLLM's protocol, adapters included, with real weights and PEFT alone.

Like vLLM it reads an adapter once, and keeps it under its name whatever becomes of the folder. And like vLLM it gives
the token that it drew first, then the likeliest ones, as many together as were asked for. It draws that of `rank`.

With a `context` it refuses what has more tokens. With `deaf` its base answers under every adapter's name, as in vLLM
where an adapter does not fit the model's layers.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tests.judge.server import CONTEXT, LocalServer


class LoraServer(LocalServer):
    """The server of a base and its adapters, as a context. `asked` holds the model's name in each request."""

    def __init__(
        self, base: Path, *, logprobs: bool = True, rank: int = 0, context: int | None = None, deaf: bool = False
    ):
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._peft: Any = PeftModel
        self._model: Any = AutoModelForCausalLM.from_pretrained(base).eval()
        self._base = base.name
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        self._loaded: dict[str, str] = {}
        self._logprobs, self._rank, self._lock = logprobs, rank, threading.Lock()
        self._context, self._deaf = context, deaf
        self.asked: list[str] = []

    def get(self) -> tuple[int, dict[str, Any]]:
        names = ["base", self._base, *self._loaded]
        return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path == "/v1/load_lora_adapter":
            self.load(body["lora_name"], Path(body["lora_path"]))
            return 200, {}
        if refusal := self._refusal(body):
            return 400, {"error": {"message": refusal, "type": "BadRequestError", "code": 400}}
        return 200, self._chat(body)

    def load(self, name: str, adapter: Path) -> None:
        """Read an adapter, unless there is one of this name."""
        with self._lock:
            if name in self._loaded:
                return
            inner = f"adapter{len(self._loaded)}"
            if self._loaded:
                self._model.load_adapter(str(adapter), inner)
            else:
                self._model = self._peft.from_pretrained(self._model, str(adapter), inner)
            self._loaded[name] = inner

    def _ids(self, body: dict[str, Any]) -> Any:
        text = self._tokenizer.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
        return self._tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]

    def _refusal(self, body: dict[str, Any]) -> str | None:
        """Why vLLM 0.32 refuses a request, in its words; None where it does not."""
        limit, prompt = body.get("max_tokens") or 0, self._ids(body).shape[1]
        if self._context is None or prompt + limit <= self._context:
            return None
        if limit > self._context:
            return (
                f"max_tokens={limit} cannot be greater than max_model_len={self._context}. Please request fewer output"
                f" tokens. (parameter=max_tokens, value={limit})"
            )
        return CONTEXT.format(context=self._context, limit=limit, prompt=prompt, total=prompt + limit)

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        import torch

        ids = self._ids(body)
        tokens: list[dict[str, Any]] = []
        with self._lock, torch.inference_mode():
            self.asked.append(body["model"])
            inner = None if self._deaf else self._loaded.get(body["model"])
            if inner:
                self._model.set_adapter(inner)
            with self._model.disable_adapter() if self._loaded and not inner else nullcontext():
                for _ in range(min(body.get("max_tokens") or body.get("max_completion_tokens") or 4, 4)):
                    asked = body.get("top_logprobs") or 1
                    values, indices = self._model(ids).logits[0, -1].log_softmax(-1).sort(descending=True)
                    decode = self._tokenizer.decode
                    drawn, *top = dict.fromkeys([self._rank, *range(asked)])
                    found = [
                        {"token": decode([int(indices[at])]), "logprob": float(values[at]), "bytes": None}
                        for at in [drawn, *top][:asked]
                    ]
                    tokens.append({**found[0], "top_logprobs": found})
                    ids = torch.cat([ids, indices[drawn][None, None]], 1)
        message = {"role": "assistant", "content": "".join(token["token"] for token in tokens)}
        logprobs = {"content": tokens} if self._logprobs and body.get("logprobs") else None
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "length", "logprobs": logprobs}],
            "usage": {"prompt_tokens": 10, "completion_tokens": len(tokens), "total_tokens": 10 + len(tokens)},
        }
