"""Batched generation: many replies advance together, a token each a step, over one cache of keys and values.

Prompts that enter together are laid into one prefix tree, so that what they share is computed once and nothing is
padding. A row whose reply is done leaves at once and another enters its place. What a reply shares a batch with changes
its logits by the rounding of a matrix product and by nothing else: its random numbers are its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from transformers import DynamicCache

from untrue.engine.attention import Layout, attending, is_plain
from untrue.engine.cache import Slots, saying_out_of_memory
from untrue.engine.replies import Ongoing, Reply, Request, check
from untrue.engine.sampling import logprobs, sample
from untrue.engine.tree import Continuation, PrefixTree, layout
from untrue.errors import UserError
from untrue.models.load import LoadedModel

ROWS = {"cpu": 64, "cuda": 256}
"""Most replies that advance together, by type of device."""

CACHE_BYTES = 2**30
"""What the cache may take on a CPU; on a GPU, a third of the memory that is free when the first reply begins."""

PROMPT_TOKENS = 4096
"""Tokens of prompts that enter together, counted before prefixes are shared."""

GRAIN = 128
"""A row's capacity is a multiple of so many tokens, so that the cache need not grow with each longer dialogue."""


class GenerationEngine:
    """Generates replies with one model; an adapter on the model counts."""

    def __init__(self, loaded: LoadedModel, model: Any = None):
        """Take a loaded base, and the model to run where an adapter is on it."""
        self.name, self.tokenizer, self.base = loaded.name, loaded.tokenizer, loaded.model
        self.model = loaded.model if model is None else model
        self.device = loaded.model.device
        self.running: list[Ongoing] = []
        self._slots: Slots | None = None
        self._cache_bytes: float = CACHE_BYTES
        self._plain = is_plain(self.base)
        config = self.base.config.get_text_config()
        self.context = loaded.context
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._token_bytes = 2 * config.num_hidden_layers * heads * width * self.base.dtype.itemsize
        # transformers renamed it; the old name works for some time, with a warning.
        self._cache_name = "cache" if "cache" in signature(type(self.base).forward).parameters else "past_key_values"

    def check(self, request: Request) -> None:
        """Refuse what cannot be generated.

        Raises:
            UserError: The prompt is empty or fills the model's context, or a setting is out of range.
        """
        check(request, self.name, self.context)

    def generate(self, requests: Sequence[Request]) -> list[Reply]:
        """Generate replies to many prompts.

        Raises:
            UserError: See `check`; or the model gives no probabilities.
            MachineError: Out of memory.
        """
        for request in requests:
            self.check(request)
        all_of_them = [Ongoing(request) for request in requests]
        waiting = sorted(all_of_them, key=lambda one: -self.need(one))
        while waiting or self.running:
            if count := self.room(waiting):
                self.enter(waiting[:count])
                del waiting[:count]
            self.step()
        for one in all_of_them:
            if one.failure:
                raise one.failure
        return [one.reply for one in all_of_them if one.reply]

    def room(self, waiting: Sequence[Ongoing]) -> int:
        """How many of those that wait, from the first, should enter now.

        A few free rows stay free until an eighth of all are: prompts that enter together share their prefixes.
        """
        most = ROWS.get(self.device.type, ROWS["cpu"])
        free = most - len(self.running)
        if free < min(len(waiting), most // 8):
            return 0
        budget = self._budget()
        count, tokens, capacity = 0, 0, self._capacity(self.running)
        for one in waiting[:free]:
            tokens += len(one.request.prompt)
            capacity = max(capacity, self._capacity([one]))
            rows = len(self.running) + count + 1
            if rows > 1 and ((count and tokens > PROMPT_TOKENS) or rows * capacity * self._token_bytes > budget):
                break
            count += 1
        return count

    @torch.inference_mode()
    def enter(self, newcomers: Sequence[Ongoing]) -> None:
        """Compute the prompts of newcomers in one forward pass, and draw their first tokens.

        Raises:
            MachineError: Out of memory.
        """
        newcomers = sorted(newcomers, key=lambda one: one.request.prompt)
        tree = PrefixTree([(Continuation(one.request.prompt, ()),) for one in newcomers])
        read = sorted(set(tree.ends))
        known = DynamicCache()
        with saying_out_of_memory(self.name, len(newcomers)):
            with attending(self.base, layout([tree], cut=self._plain)):
                logits = self._forward(tree.tokens, tree.depths, known, torch.tensor(read))[0]
            self._make_room(known, newcomers)
            assert self._slots
            for row, end in enumerate(tree.ends, len(self.running)):
                self._slots.fill(row, known, 0, torch.tensor(tree.path(end), device=self.device))
            order = {end: place for place, end in enumerate(read)}
            self._draw(newcomers, logits[[order[end] for end in tree.ends]])
            self.running.extend(newcomers)

    @torch.inference_mode()
    def step(self) -> None:
        """Advance every reply under way by a token; those that are done leave.

        Raises:
            MachineError: Out of memory.
        """
        self._leave()
        if not self.running:
            return
        assert self._slots
        lengths = [one.length for one in self.running]
        self._slots.append_at(lengths)
        positions, keys = torch.tensor(lengths)[:, None], torch.arange(max(lengths) + 1)[None]
        rows = Layout((keys <= positions)[:, None], positions, keys)
        with saying_out_of_memory(self.name, len(self.running)), attending(self.base, rows):
            tokens = [[one.tokens[-1]] for one in self.running]
            logits = self._forward(tokens, positions.tolist(), self._slots, 1)[:, -1]
        self._draw(self.running, logits)
        self._leave()

    def abandon(self) -> None:
        """Forget all replies under way."""
        self.running.clear()
        self._slots = None

    def _forward(self, tokens: Any, positions: Any, cache: Any, keep: Any) -> torch.Tensor:
        """Logits, (rows, kept, vocabulary); flat lists of tokens are one row."""
        return self.model(
            input_ids=torch.atleast_2d(torch.tensor(tokens, device=self.device)),
            position_ids=torch.atleast_2d(torch.tensor(positions, device=self.device)),
            logits_to_keep=keep.to(self.device) if isinstance(keep, torch.Tensor) else keep,
            use_cache=True,
            **{self._cache_name: cache},
        ).logits

    def _draw(self, rows: Sequence[Ongoing], logits: torch.Tensor) -> None:
        sound = torch.isfinite(logits.amax(-1))  # NaN anywhere in a row makes its largest value NaN
        if not sound.all():
            for one, is_sound in zip(rows, sound.tolist(), strict=True):
                if not is_sound:  # one reply's failure is not the others'
                    one.failure = UserError(
                        f"{self.name}: gives no probabilities (NaN). The model or its adapter is broken."
                    )
            rows, logits = [one for one in rows if one.failure is None], logits[sound]
            if not rows:
                return
        tokens = sample(logits, [one.draw() for one in rows])
        if asked := [place for place, one in enumerate(rows) if one.request.top_logprobs is not None]:
            tops = [rows[place].request.top_logprobs or 0 for place in asked]
            noted = logprobs(logits[asked], [tokens[place] for place in asked], tops)
            for place, found in zip(asked, noted, strict=True):
                rows[place].logprobs.append(found)
        configured = self.base.generation_config.eos_token_id
        ends = {self.tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
        for one, token in zip(rows, tokens, strict=True):
            one.take(token, self.tokenizer, ends, self.context)

    def _leave(self) -> None:
        """Close the gaps of rows that are done with the last rows."""
        for row in reversed(range(len(self.running))):
            one = self.running[row]
            if one.reply is None and one.failure is None and not one.abandoned:
                continue
            last = self.running.pop()
            if row < len(self.running):
                assert self._slots
                self._slots.fill(row, self._slots, len(self.running), slice(last.length))
                self.running[row] = last
        if not self.running:
            self._slots = None

    def _make_room(self, like: DynamicCache, newcomers: Sequence[Ongoing]) -> None:
        """Replace the cache by a larger one where it is too small, and keep what it holds."""
        rows = len(self.running) + len(newcomers)
        capacity = self._capacity([*self.running, *newcomers])
        old = self._slots
        if old and old.rows >= rows and old.capacity >= capacity:
            return
        if old:
            capacity = max(capacity, old.capacity)
        self._slots = Slots(like, rows, capacity, columns=self._plain)
        for row, one in enumerate(self.running):
            assert old
            self._slots.fill(row, old, row, slice(one.length))

    def need(self, one: Ongoing) -> int:
        """Tokens that a reply may come to, with its prompt."""
        return min(len(one.request.prompt) + one.request.max_tokens, self.context)

    def _capacity(self, rows: Sequence[Ongoing]) -> int:
        return -(-max([0, *map(self.need, rows)]) // GRAIN) * GRAIN

    def _budget(self) -> float:
        if self._slots is None:  # while it grows there are two
            cuda = self.device.type == "cuda"
            self._cache_bytes = torch.cuda.mem_get_info(self.device)[0] / 3 if cuda else CACHE_BYTES
        return self._cache_bytes
