"""Batched generation: many replies advance together, a token each a step, over one cache of keys and values.

Prompts that enter together share one prefix tree, without padding. A row that is done leaves at once for another. What
a reply shares a batch with changes its logits only by rounding: its random numbers are its own.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from untrue.engine.attention import Layout, attending, is_plain
from untrue.engine.batcher import Batcher, Job
from untrue.engine.likelihoods import Continuation, PrefixTree, layout
from untrue.engine.sampling import Draw, TokenLogprob, logprobs, sample
from untrue.errors import MachineError, UserError
from untrue.models.chat import without_thinking
from untrue.models.families import THINKING_TAGS, cache_argument
from untrue.models.load import LoadedModel


class Slots(Cache):
    """Keys and values of `rows` rows of `capacity` tokens, written in place at each row's own length."""

    def __init__(self, like: Cache, rows: int, capacity: int, *, columns: bool):
        """Allocate, in the shapes of the filled cache `like`; `columns` lays keys as `attention.py` reads fastest."""
        self.rows, self.capacity = rows, capacity
        self._place = SimpleNamespace(tokens=0)  # where a forward pass writes; layers must not hold the cache itself
        self._own: list[Any] = [_Layer(layer, rows, capacity, columns, self._place) for layer in like.layers]
        super().__init__(layers=self._own)

    def fill(self, row: int, source: Cache, source_row: int, places: torch.Tensor | slice) -> None:
        """Copy keys and values at some places of another cache's row to the start of a row."""
        sources: list[Any] = source.layers
        for layer, other in zip(self._own, sources, strict=True):
            for mine, theirs in ((layer.keys, other.keys), (layer.values, other.values)):
                copied = theirs[source_row, :, places]
                mine[row, :, : copied.shape[1]] = copied

    def append_at(self, lengths: list[int]) -> None:
        """Set where the next forward pass writes: row i at its length."""
        device = self._own[0].keys.device
        self._place.lengths = torch.tensor(lengths, device=device)
        self._place.rows = torch.arange(len(lengths), device=device)
        self._place.tokens = max(lengths) + 1


class _Layer(DynamicLayer):
    def __init__(self, like: Any, rows: int, capacity: int, columns: bool, place: SimpleNamespace):
        super().__init__()
        self._place = place
        _, heads, _, width = like.keys.shape
        # Zeros: what lies beyond a row's length is multiplied by a weight of 0, and must be a number.
        if columns:
            self.keys = like.keys.new_zeros(rows, heads, width, capacity).transpose(2, 3)
        else:
            self.keys = like.keys.new_zeros(rows, heads, capacity, width)
        self.values = like.values.new_zeros(rows, heads, capacity, like.values.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        place, keys, values = self._place, self.keys, self.values
        assert keys is not None and values is not None
        keys[place.rows, :, place.lengths] = key_states[:, :, 0]
        values[place.rows, :, place.lengths] = value_states[:, :, 0]
        rows = len(place.rows)
        return keys[:rows, :, : place.tokens], values[:rows, :, : place.tokens]

    def get_seq_length(self) -> int:
        return self._place.tokens


ROWS = {"cpu": 64, "cuda": 256}  # most replies that advance together, by type of device

# What the cache may take on a CPU; on a GPU, a third of the memory that is free when the first reply begins.
CACHE_BYTES = 2**30

PROMPT_TOKENS = 4096  # tokens of prompts that enter together, counted before prefixes are shared

# A row's capacity is a multiple of this many tokens, so that the cache need not grow with each longer dialogue.
GRAIN = 128


class Request(NamedTuple):
    """A reply to generate.

    Attributes:
        max_tokens: Most tokens of the reply, the end-of-turn token included.
        temperature: What logits are divided by; 0 takes the most likely token.
        top_p: The most likely tokens whose probabilities reach this sum are kept.
        seed: Same seed and prompt, same reply; None draws one.
        top_logprobs: Report each token's log-probability and those of this many most likely ones; None reports none.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop_seqs: tuple[str, ...] = ()
    top_logprobs: int | None = None


class Reply(NamedTuple):
    """What was generated.

    Attributes:
        tokens: Token ids, with a drawn end-of-turn token.
        text: The reply, without special tokens and the stop sequence that ended it.
        stop: `stop` (end of turn or a stop sequence), `max_tokens`, or `model_length` (the context is full).
    """

    tokens: tuple[int, ...]
    text: str
    stop: Literal["stop", "max_tokens", "model_length"]
    logprobs: tuple[TokenLogprob, ...] | None


class Ongoing(Job[Reply]):
    """A reply under way."""

    def __init__(self, request: Request):
        self.request = request
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprob] = []
        seed = random.SystemRandom().getrandbits(64) if request.seed is None else request.seed
        # The prompt counts too: one seed for a whole eval must not give all its dialogues the same luck.
        digest = hashlib.sha256(repr((seed, request.prompt)).encode()).digest()
        self._random = random.Random(digest)

    @property
    def length(self) -> int:
        """Tokens with known keys and values: all but the last one drawn."""
        return len(self.request.prompt) + len(self.tokens) - 1

    def draw(self) -> Draw:
        """How the next token is drawn."""
        temperature = self.request.temperature
        return Draw(temperature, self.request.top_p, self._random.random() if temperature else 0.0)

    def take(self, token: int, tokenizer: Any, ends: set[int | None], context: int) -> None:
        """Add the drawn token, and settle if it ends the reply or fills the context (prompt and reply)."""
        self.tokens.append(token)
        request, is_end = self.request, token in ends
        spoken = self.tokens[:-1] if is_end else self.tokens
        text = _text(tokenizer, spoken) if request.stop_seqs else ""
        if is_end or any(sequence in text for sequence in request.stop_seqs):
            stop = "stop"
        elif len(self.tokens) >= request.max_tokens:
            stop = "max_tokens"
        elif len(request.prompt) + len(self.tokens) >= context:
            stop = "model_length"
        else:
            return
        text = text or _text(tokenizer, spoken)
        for sequence in request.stop_seqs:
            text = text.split(sequence)[0]
        text = text.strip()  # a template may put a space between prompt and reply, or between reply and end
        self.settle(
            Reply(tuple(self.tokens), text, stop, None if request.top_logprobs is None else tuple(self.logprobs))
        )


def _text(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Text of tokens without special ones, except those that enclose thinking, which would become the reply."""
    text, raw = (str(tokenizer.decode(tokens, skip_special_tokens=skip)) for skip in (True, False))
    if without_thinking(raw) == raw:
        return text
    for token in set(tokenizer.all_special_tokens) - {*THINKING_TAGS, *THINKING_TAGS.values()}:
        raw = raw.replace(token, "")
    return raw


class GenerationEngine(Batcher[Ongoing]):
    """Generates replies with one model, an adapter on it included, for any number of coroutines."""

    def __init__(self, loaded: LoadedModel, model: Any = None):
        super().__init__()
        self.name, self.tokenizer, self.base = loaded.name, loaded.tokenizer, loaded.model
        self.model = loaded.model if model is None else model
        self.device = loaded.model.device
        self.context = loaded.context
        self._slots: Slots | None = None
        self._cache_bytes: float = CACHE_BYTES
        self._plain = is_plain(self.base)
        config = self.base.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._token_bytes = 2 * config.num_hidden_layers * heads * width * self.base.dtype.itemsize
        self._cache_name = cache_argument(self.base)

    async def generate(self, request: Request) -> Reply:
        """Wait for a reply.

        Raises:
            UserError: The prompt is empty or fills the context, a setting is out of range, or there are no
                probabilities.
            MachineError: Out of memory.
        """
        self._check(request)
        return await self._answer(Ongoing(request))

    def _check(self, request: Request) -> None:
        if not request.prompt:
            raise UserError(f"{self.name}: the prompt has no tokens, so there is nothing to reply to.")
        if len(request.prompt) >= self.context:
            raise UserError(
                f"{self.name}: the prompt has {len(request.prompt)} tokens, and the model takes {self.context},"
                " the reply among them. Shorten the dialogue."
            )
        if request.max_tokens < 1:
            raise UserError(f"max_tokens: {request.max_tokens}, expected 1 or more.")
        if not request.temperature >= 0:
            raise UserError(f"temperature: {request.temperature}, expected 0 or more.")
        if not 0 < request.top_p <= 1:
            raise UserError(f"top_p: {request.top_p}, expected more than 0 and at most 1.")
        if "" in request.stop_seqs:
            raise UserError("stop_seqs: an empty text would end every reply at once. Leave it out.")

    def _advance(self) -> None:
        self._waiting = [ongoing for ongoing in self._waiting if not ongoing.answer.done()]
        # The longest first: rows of a similar length waste little of the cache.
        self._waiting.sort(key=lambda ongoing: -self._need(ongoing))
        if count := self.room(self._waiting):
            newcomers, self._waiting = self._waiting[:count], self._waiting[count:]
            self._start(newcomers)
        try:
            self._step()
        except Exception as error:
            for ongoing in self.running:
                ongoing.settle(error)
            self._abandon()

    def room(self, waiting: Sequence[Ongoing]) -> int:
        """How many of those that wait should enter now.

        None enters until an eighth of all rows is free: prompts that enter together share their prefixes.
        """
        most = ROWS.get(self.device.type, ROWS["cpu"])
        free = most - len(self.running)
        if free < min(len(waiting), most // 8):
            return 0
        if self._slots is None:  # while it grows there are two
            cuda = self.device.type == "cuda"
            self._cache_bytes = torch.cuda.mem_get_info(self.device)[0] / 3 if cuda else CACHE_BYTES
        count, tokens, capacity = 0, 0, self._capacity(self.running)
        for ongoing in waiting[:free]:
            tokens += len(ongoing.request.prompt)
            capacity = max(capacity, self._capacity([ongoing]))
            rows = len(self.running) + count + 1
            too_large = rows * capacity * self._token_bytes > self._cache_bytes
            if rows > 1 and ((count and tokens > PROMPT_TOKENS) or too_large):
                break
            count += 1
        return count

    @torch.inference_mode()
    def _compute(self, jobs: Sequence[Ongoing]) -> None:
        """Compute the prompts of newcomers in one forward pass, and draw their first tokens."""
        newcomers = sorted(jobs, key=lambda ongoing: ongoing.request.prompt)
        tree = PrefixTree([(Continuation(ongoing.request.prompt, ()),) for ongoing in newcomers])
        read = sorted(set(tree.ends))
        prompts = DynamicCache()
        with _out_of_memory_in_a_line(self.name, len(newcomers)):
            with attending(self.base, layout([tree], cut=self._plain)):
                logits = self._forward(tree.tokens, tree.depths, prompts, torch.tensor(read))[0]
            slots = self._make_room(prompts, newcomers)
            for row, end in enumerate(tree.ends, len(self.running)):
                slots.fill(row, prompts, 0, torch.tensor(tree.path(end), device=self.device))
            order = {end: place for place, end in enumerate(read)}
            self._draw(newcomers, logits[[order[end] for end in tree.ends]])
            self.running.extend(newcomers)

    @torch.inference_mode()
    def _step(self) -> None:
        self._leave()
        if self._slots is None:
            return
        lengths = [ongoing.length for ongoing in self.running]
        self._slots.append_at(lengths)
        positions, keys = torch.tensor(lengths)[:, None], torch.arange(max(lengths) + 1)[None]
        rows = Layout((keys <= positions)[:, None], positions, keys)
        with _out_of_memory_in_a_line(self.name, len(self.running)), attending(self.base, rows):
            tokens = [[ongoing.tokens[-1]] for ongoing in self.running]
            logits = self._forward(tokens, positions.tolist(), self._slots, 1)[:, -1]
        self._draw(self.running, logits)
        self._leave()

    def _abandon(self) -> None:
        super()._abandon()
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
        finite = torch.isfinite(logits.amax(-1))  # NaN anywhere in a row makes its largest value NaN
        if not finite.all():
            broken = UserError(f"{self.name}: gives no probabilities (NaN). The model or its adapter is broken.")
            for ongoing in compress(rows, (~finite).tolist()):  # one reply's failure is not the others'
                ongoing.settle(broken)
            rows, logits = list(compress(rows, finite.tolist())), logits[finite]
            if not rows:
                return
        tokens = sample(logits, [ongoing.draw() for ongoing in rows])
        tops = {
            place: row.request.top_logprobs for place, row in enumerate(rows) if row.request.top_logprobs is not None
        }
        if tops:
            noted = logprobs(logits[list(tops)], [tokens[place] for place in tops], list(tops.values()))
            for place, logprob in zip(tops, noted, strict=True):
                rows[place].logprobs.append(logprob)
        configured = self.base.generation_config.eos_token_id
        ends = {self.tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
        for ongoing, token in zip(rows, tokens, strict=True):
            ongoing.take(token, self.tokenizer, ends, self.context)

    def _leave(self) -> None:
        """Fill the gaps of done rows with the last rows."""
        for row in reversed(range(len(self.running))):
            if not self.running[row].answer.done():
                continue
            last = self.running.pop()
            if row < len(self.running):
                assert self._slots
                self._slots.fill(row, self._slots, len(self.running), slice(last.length))
                self.running[row] = last
        if not self.running:
            self._slots = None

    def _make_room(self, like: DynamicCache, newcomers: Sequence[Ongoing]) -> Slots:
        """The cache, or a larger one with the same content if it is too small."""
        rows = len(self.running) + len(newcomers)
        capacity = self._capacity([*self.running, *newcomers])
        old = self._slots
        if old and old.rows >= rows and old.capacity >= capacity:
            return old
        self._slots = Slots(like, rows, max(capacity, old.capacity if old else 0), columns=self._plain)
        for row, ongoing in enumerate(self.running):
            assert old
            self._slots.fill(row, old, row, slice(ongoing.length))
        return self._slots

    def _need(self, ongoing: Ongoing) -> int:
        return min(len(ongoing.request.prompt) + ongoing.request.max_tokens, self.context)

    def _capacity(self, rows: Sequence[Ongoing]) -> int:
        return -(-max([0, *map(self._need, rows)]) // GRAIN) * GRAIN


@contextmanager
def _out_of_memory_in_a_line(name: str, rows: int) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise MachineError(
            f"{name}: out of memory with {rows} replies under way. Use a smaller max_tokens or a smaller model."
        ) from None
