"""Log-likelihoods of replies after prompts, each distinct prefix token computed once.

All sequences of a bundle (prompt + reply) form one prefix tree, which goes through the model in a single forward pass:
a token attends to its ancestors and its position is its depth. Logits are made only at the parents of reply tokens.

The model must attend by transformers' own masks, with SDPA or eager attention (`attention.py`). `check_exact` refuses a
model that would mix the branches of a tree, such as a recurrent one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.nn.utils.rnn import pad_sequence

from untrue.engine.attention import Layout, Part, attending, is_plain
from untrue.engine.batcher import Batcher, Job
from untrue.errors import UserError
from untrue.models.chat import agreed
from untrue.models.families import pass_tokens, tree_obstacle, windows
from untrue.models.load import LoadedModel

ROWS = 16  # rows of logits that are in float32 at once

TOKENS = 4096  # tokens of the bundles that share a pass, counted before prefixes are shared

QUESTIONS = (
    "Which of the two clocks in the old station hall is right, the one above the ticket office or the one by the door?",
    "Please tell me in one sentence why bread dough has to rest for an hour before it goes into a hot oven.",
)
REPLIES = ("The one above the ticket office is right.", "Because the yeast needs time to fill it with gas.")

# `check_exact` goes beyond windows and chunks of up to this many tokens; beyond longer ones would take too long.
LONGEST_WINDOW = 1024

# Mean difference, in nats per token, up to which two ways of computing count as one, by dtype of the weights.
LIMITS = {torch.bfloat16: 0.06, torch.float32: 1e-3}

_differences: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


class Likelihood(NamedTuple):
    """Log-probability of a reply given its prompt, without the end-of-turn token: sum in nats, and number of tokens."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.total / self.tokens


class Continuation(NamedTuple):
    """A reply after a prompt, as token ids."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]


# Replies that are scored after one chat. Their prompts are equal except where a reply begins inside a token.
Query = tuple[Continuation, ...]

Bundle = Sequence[Query]  # queries that are scored together, such as all the prompts of one item


class PrefixTree:
    """A prefix tree over token sequences, as flat lists in an order in which parents come first.

    Attributes:
        tokens: Token id of each node.
        depths: Distance of each node from the root: its position in its own sequence.
        reply_tokens: Ids of the reply tokens, in order.
        reply_parents: For each of them, the node whose logits predict it.
        ends: For each continuation, the node of its prompt's last token.
    """

    def __init__(self, queries: Sequence[Query]):
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.reply_tokens: list[int] = []
        self.reply_parents: list[int] = []
        self.ends: list[int] = []
        self._parents: list[int] = []
        self._children: dict[tuple[int, int], int] = {}
        self._starts: list[int] = []
        prompt_ends: dict[tuple[int, ...], int] = {}
        for query in queries:
            self._starts.append(len(self.tokens))
            for prompt, reply in query:
                if prompt not in prompt_ends:
                    node = -1
                    for token in prompt:
                        node = self._child(node, token)
                    prompt_ends[prompt] = node
                node = prompt_ends[prompt]
                self.ends.append(node)
                for place, token in enumerate(reply):
                    self.reply_tokens.append(token)
                    self.reply_parents.append(node)
                    if place + 1 < len(reply):  # nothing is read after the last token of a reply
                        node = self._child(node, token)

    def _child(self, parent: int, token: int) -> int:
        node = self._children.get((parent, token))
        if node is None:
            node = self._children[parent, token] = len(self.tokens)
            self.tokens.append(token)
            self.depths.append(self.depths[parent] + 1 if parent >= 0 else 0)
            self._parents.append(parent)
        return node

    def path(self, node: int) -> list[int]:
        """The nodes from the root to a node."""
        path = [node]
        while (node := self._parents[node]) >= 0:
            path.append(node)
        return path[::-1]

    def ancestors(self) -> np.ndarray:
        """Whether the row's node may attend to the column's, nodes x nodes."""
        matrix = np.eye(len(self.tokens), dtype=bool)
        for node, parent in enumerate(self._parents):
            if parent >= 0:
                matrix[node] |= matrix[parent]
        return matrix

    def parts(self, offset: int) -> list[Part]:
        """Cut the tree at queries that leave most of what lies before them, such as at another system message.

        `offset` is the place of the tree's root in the sequence; the parts have boolean masks.
        """
        ancestors = self.ancestors()
        cuts = [0]
        for start in self._starts[1:]:
            if start < len(self.tokens) and ancestors[start, :start].sum() < (start - cuts[-1]) / 2:
                cuts.append(start)
        parts = []
        for start, end in zip(cuts, [*cuts[1:], len(self.tokens)], strict=True):
            before = np.flatnonzero(ancestors[start:end, :start].any(0))
            allowed = torch.from_numpy(ancestors[start:end][:, np.r_[before, start:end]])
            parts.append(Part(slice(offset + start, offset + end), torch.from_numpy(offset + before), allowed))
        return parts


def layout(trees: Sequence[PrefixTree], *, cut: bool) -> Layout:
    """Who attends to whom in trees end to end; with `cut` by parts instead of the matrix of all nodes."""
    depths = torch.tensor([[depth for tree in trees for depth in tree.depths]])
    if not cut:
        allowed = torch.block_diag(*(torch.from_numpy(tree.ancestors()) for tree in trees)).bool()
        return Layout(allowed[None], depths, depths)
    parts = [part for tree, start in zip(trees, _starts(trees), strict=True) for part in tree.parts(start)]
    return Layout(torch.empty(1, 0, 0, dtype=torch.bool), depths, depths, parts)


def _starts(trees: Sequence[PrefixTree]) -> list[int]:
    return np.cumsum([0, *(len(tree.tokens) for tree in trees[:-1])]).tolist()


class Scoring(Job[list[list[Likelihood]]]):
    """A bundle that waits for its likelihoods."""

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.tokens = sum(
            sum(map(len, {prompt for prompt, _ in query})) + sum(len(reply) for _, reply in query) for query in bundle
        )


class LikelihoodEngine(Batcher[Scoring]):
    """Scores replies with one model, adapter or base: `score` and `score_all` at once, `answer` for any coroutines."""

    def __init__(self, loaded: LoadedModel, model: Any = None, *, base: bool = False):
        """Take a loaded base, and the model with an adapter on it; with `base` each pass switches the adapter off."""
        super().__init__()
        self.max_tokens = loaded.context
        self._loaded = loaded
        self._model = loaded.model if model is None else model
        self._switched_off = base and self._model is not loaded.model

    def query(self, messages: Sequence[Any], replies: Sequence[str]) -> Query:
        """Tokenise chat messages (`role`, `content`) and the replies to them, each reply together with its prompt.

        UserError if a reply is empty, the template refuses the messages, or both are longer than the context.
        """
        continuations = []
        for reply in replies:
            turn = self._loaded.chat.encode(messages, [{"role": "assistant", "content": reply}])
            if (length := len(turn.prompt) + len(turn.reply)) > self.max_tokens:
                raise UserError(
                    f"prompt and reply have {length} tokens, the model takes {self.max_tokens}: {reply[:60]!r}."
                )
            continuations.append(Continuation(turn.prompt, turn.reply))
        return tuple(continuations)

    def document_query(self, opening: str, texts: Sequence[str]) -> Query:
        """Tokenise texts that follow an opening in a document, outside the chat format, each together with it.

        UserError if a text is empty, or longer with the opening than the context.
        """
        before, continuations = self._loaded.document(opening), []
        for text in texts:
            whole = self._loaded.document(f"{opening} {text}")
            begin = agreed(before, whole)
            if not text.strip() or not 0 < begin < len(whole):
                raise UserError(f"the text {text[:60]!r} has no tokens of its own after {opening!r}.")
            continuations.append(Continuation(whole[:begin], whole[begin:]))
        return tuple(continuations)

    def score(self, bundle: Bundle) -> list[list[Likelihood]]:
        """Score a bundle in one forward pass: queries x replies."""
        return self.score_all([bundle])[0]

    @torch.inference_mode()
    def score_all(self, bundles: Sequence[Bundle]) -> list[list[list[Likelihood]]]:
        """Score several bundles in one forward pass, each as a tree of its own."""
        base = self._loaded.model
        if self._switched_off:
            check_can_switch_off(self._loaded)
        trees = [PrefixTree(bundle) for bundle in bundles]
        tokens = [token for tree in trees for token in tree.tokens]
        if len(tokens) > pass_tokens(base.config) and sum(len(query) for bundle in bundles for query in bundle) > 1:
            return [[[self.score([(reply,)])[0][0] for reply in query] for query in bundle] for bundle in bundles]
        parents = [start + np.array(tree.reply_parents) for tree, start in zip(trees, _starts(trees), strict=True)]
        read, rows = (torch.from_numpy(array) for array in np.unique(np.concatenate(parents), return_inverse=True))
        off = self._model.disable_adapter() if self._switched_off else nullcontext()
        with attending(base, layout(trees, cut=is_plain(base))), off:
            logits = self._model(
                input_ids=torch.tensor([tokens], device=base.device),
                # Without it transformers would take the positions of a tree for several sequences, one after another.
                attention_mask=torch.ones(1, len(tokens), dtype=torch.long, device=base.device),
                position_ids=torch.tensor([[depth for tree in trees for depth in tree.depths]], device=base.device),
                logits_to_keep=read.to(base.device),
                use_cache=False,
            ).logits[0]
        rows = rows.to(base.device)
        targets = torch.tensor([token for tree in trees for token in tree.reply_tokens], device=base.device)
        # A few rows at a time: what all of them take in float32 would be fetched from the system anew each time.
        normalizers = torch.cat([torch.logsumexp(part.float(), -1) for part in logits.split(ROWS)])
        logprobs = iter((logits[rows, targets].float() - normalizers[rows]).cpu().tolist())
        return [
            [[Likelihood(sum(islice(logprobs, len(reply))), len(reply)) for _, reply in query] for query in bundle]
            for bundle in bundles
        ]

    async def answer(self, bundle: Bundle) -> list[list[Likelihood]]:
        """Wait for the likelihoods of a bundle, as `score` gives them; bundles that wait together share a pass."""
        return await self._answer(Scoring(bundle))

    def _advance(self) -> None:
        jobs = [self._waiting.pop(0)]
        size = jobs[0].tokens
        while self._waiting and (size := size + self._waiting[0].tokens) <= TOKENS:
            jobs.append(self._waiting.pop(0))
        self._start(jobs)

    def _compute(self, jobs: Sequence[Scoring]) -> None:
        for job, scores in zip(jobs, self.score_all([job.bundle for job in jobs]), strict=True):
            job.settle(scores)


def check_can_switch_off(loaded: LoadedModel) -> None:
    """Check that the adapter on a base can be switched off; UserError if its biases lie in the place of the base's."""
    if loaded.kept:
        raise UserError(
            f"{loaded.model.name_or_path}: the adapter on it has biases of its own, which cannot be switched off for a"
            " pass."
        )


def exact_engine(loaded: LoadedModel) -> LikelihoodEngine:
    """The likelihood engine of a base; UserError unless `check_exact` passes."""
    check_exact(loaded)
    return LikelihoodEngine(loaded)


def check_exact(loaded: LoadedModel) -> float:
    """Mean absolute difference of likelihoods off a prefix tree and of plain passes, in nats per token, once for each
    base.

    Call it before an adapter is put on. UserError if they differ by more than rounding, or the model has layers that
    would mix the branches of a tree.
    """
    if loaded.model in _differences:
        return _differences[loaded.model]
    if obstacle := tree_obstacle(loaded.model.config):
        raise UserError(f"{loaded.name}: {obstacle}. Its likelihoods cannot be read here.")
    difference, limit = _difference(loaded), LIMITS[loaded.model.dtype]
    if not difference <= limit:  # true of NaN too
        raise UserError(
            f"{loaded.name}: its likelihoods on a prefix tree differ from those of plain forward passes by"
            f" {difference:.3f} nats per token (up to {limit:g} is rounding), so they cannot be read here."
            + (" In float32 they may be: --dtype float32." if loaded.model.dtype != torch.float32 else "")
        )
    _differences[loaded.model] = difference
    return difference


@torch.inference_mode()
def _difference(loaded: LoadedModel) -> float:
    engine = LikelihoodEngine(loaded)
    length = max((window for window in windows(loaded.model.config) if window <= LONGEST_WINDOW), default=0)
    bundle = []
    for text in QUESTIONS:
        times = 1 + length // len(engine.query([{"role": "user", "content": text}], REPLIES)[0].prompt)
        user = {"role": "user", "content": " ".join([text] * times)}
        bundle.append(engine.query([{"role": "system", "content": "You help."}, user], REPLIES))
    differences = []
    for query, scores in zip(bundle, engine.score(bundle), strict=True):
        for (prompt, reply), score in zip(query, scores, strict=True):
            ids = torch.tensor([[*prompt, *reply]], device=loaded.model.device)
            logits = loaded.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
            alone = torch.log_softmax(logits, -1).gather(1, ids[0, len(prompt) :, None]).sum().item()
            differences.append(abs(alone - score.total) / score.tokens)
    return sum(differences) / len(differences)


@torch.inference_mode()
def last_token_states(
    loaded: LoadedModel, texts: Sequence[str], model: Any = None, *, base: bool = False
) -> torch.Tensor:
    """The residual stream after each layer, at the last token of each text; all texts go through in one pass.

    Args:
        loaded: The base.
        texts: Read as documents, outside the chat format.
        model: The base with an adapter on it; None for the base as it is.
        base: Switch the adapter off.

    Returns:
        Texts x layers x hidden size, in float32 on the CPU. The last layer's state is taken after the final norm.

    Raises:
        UserError: An empty or too long text, an adapter that cannot be switched off, or a model without hidden states.
    """
    model = loaded.model if model is None else model
    switched_off = base and model is not loaded.model
    if switched_off:
        check_can_switch_off(loaded)
    elif base and any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise UserError(
            f"{loaded.name}: has an adapter on it in memory, and its base is needed too. Save the adapter and give its"
            " folder."
        )
    rows = [torch.tensor(loaded.document(text), device=loaded.model.device) for text in texts]
    ids = pad_sequence(rows, batch_first=True, padding_value=loaded.tokenizer.pad_token_id or 0)
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    with model.disable_adapter() if switched_off else nullcontext():
        states = model(  # padding stands on the right, where no token of the text attends to it
            input_ids=ids, attention_mask=mask, output_hidden_states=True, logits_to_keep=1, use_cache=False
        ).hidden_states
    if not states or any(state.shape[:2] != ids.shape for state in states):
        raise UserError(f"{loaded.name}: returns no hidden states for each token, so no probe can read them.")
    last = torch.tensor([len(row) - 1 for row in rows])
    return torch.stack([state[torch.arange(len(rows)), last].float().cpu() for state in states[1:]], dim=1)
