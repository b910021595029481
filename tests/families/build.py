"""Tiny random-weight models of many families, each with its real configuration class and its chat template.

    from tests.families.build import FAMILIES, build
    folder = build("gemma-2", tmp_path / "gemma-2")  # AutoModelForCausalLM and AutoTokenizer load it offline

What differs between families is kept: special tokens and which of them swallow the white space after them, how the
tokenizer treats spaces and line breaks, windows and chunks, ropes, experts, soft caps, and all that the templates do.
README.md of this folder says where each template is from.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

WINDOW = 24
"""Tokens of a sliding window or a chunk, where a family has one: a short prompt is longer."""

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,  # so that likelihoods are sharp and depend on all of the prompt
}


class Family(NamedTuple):
    """A family of models.

    Attributes:
        name: Key in FAMILIES.
        config: Makes the tiny configuration from the size of the vocabulary and the ids of bos, eos and pad.
        template: Text of the chat template.
        tokenizer: Byte-level BPE as of GPT-2, Llama 3 and Qwen, or like SentencePiece as of Llama 2, Mistral and Gemma.
        split: How it cuts text. `gpt2`: line breaks one by one. `llama3`: runs of line breaks, also with the
            punctuation before them, are one token. `always`: a ▁ is put before each stretch between special tokens
            (Llama-2 with legacy=True). `first`: before the text alone (legacy=False). `never`: nowhere (Gemma).
        bos: Beginning of text, None where the family has none.
        eos: End of text or turn, as the tokenizer names it.
        pad: Padding, None where the tokenizer names none.
        add_bos: Whether the tokenizer itself puts bos before a text.
        special: Special tokens, those above among them.
        words: Tokens that are added whole but do not count as special, such as `<think>`.
        rstrip: Tokens that swallow the white space after them.
        stops: Tokens that end a generation, as generation_config.json has them.
        window: Sliding window or chunk of the tiny model in tokens; None where every layer sees everything.
        thinking: How the template treats reasoning: `none`, or a note.
        system: What the template does with a system message: `kept`, `folded` into a user message, `refused`,
            `ignored`, or a note. `default` says that it writes one of its own where there is none.
        dated: Whether the template writes today's date.
        unsupported: Why a prefix tree cannot be scored with this model, None where it can.
        source: Where the template is from, and its licence.
    """

    name: str
    config: Callable[[int, dict[str, Any]], Any]
    template: str
    source: str
    tokenizer: Literal["bytes", "sentencepiece"]
    split: Literal["gpt2", "llama3", "always", "first", "never"]
    eos: str
    bos: str | None = None
    pad: str | None = None
    add_bos: bool = False
    special: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    rstrip: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    window: int | None = None
    thinking: str = "none"
    system: str = "kept"
    dated: bool = False
    unsupported: str | None = None


def build(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a tiny model of a family and its tokenizer in the hub's format; the same seed gives the same bytes."""
    import torch
    from transformers import AutoModelForCausalLM

    family = FAMILIES[name]
    tokenizer = make_tokenizer(family)
    ids = {f"{which}_token_id": getattr(tokenizer, f"{which}_token_id") for which in ("bos", "eos", "pad")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(family.config(len(tokenizer), ids), dtype=torch.float32)
    if family.stops:
        model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(family.stops))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(family: Family) -> Any:
    """Give the tokenizer of a family: a copy of one of two trained ones, with its own special tokens and cuts."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(_trained(family.tokenizer))
    metaspace: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if family.split == "gpt2":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif family.split == "llama3":
        cuts = pre_tokenizers.Split(Regex(LLAMA3_WORDS), "isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    elif family.split == "always":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence([*metaspace, decoders.Strip(" ", 1, 0)])
    elif family.split == "first":
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        backend.decoder = decoders.Sequence([*metaspace, decoders.Strip(" ", 1, 0)])
    else:
        backend.normalizer = normalizers.Replace(" ", "▁")
        backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        backend.decoder = decoders.Sequence(metaspace)
        backend.add_tokens([AddedToken("\n" * count, normalized=False) for count in range(1, 5)])
    if family.tokenizer == "bytes":
        backend.decoder = decoders.ByteLevel()
    ends = (family.bos, family.eos, family.pad)
    special = dict.fromkeys([*(token for token in ends if token), *family.special])
    backend.add_special_tokens(
        [AddedToken(token, normalized=False, rstrip=token in family.rstrip) for token in special]
    )
    backend.add_tokens([AddedToken(token, normalized=False, rstrip=token in family.rstrip) for token in family.words])
    if family.add_bos:
        assert family.bos
        backend.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A",
            pair=f"{family.bos} $A {family.bos}:1 $B:1",
            special_tokens=[(family.bos, backend.token_to_id(family.bos))],
        )
    unknown = {"unk_token": "<unk>"} if family.tokenizer == "sentencepiece" else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.pad,
        chat_template=family.template,
        clean_up_tokenization_spaces=False,
        **unknown,
    )


LLAMA3_WORDS = (
    r"(?i:'(?:s|t|re|ve|m|ll|d))"  # what is left of a contraction
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"  # a word with the space or sign before it; up to three digits
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # signs and the line breaks after them
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def _trained(kind: str) -> str:
    """Train one of the two tokenizers on texts of the project's own and give it as JSON."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    if kind == "bytes":
        backend = Tokenizer(models.BPE())
        cuts = pre_tokenizers.Split(Regex(LLAMA3_WORDS), "isolated")
        as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([cuts, as_bytes])
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=640, initial_alphabet=alphabet, show_progress=False)
        # With and without a sign before the line breaks, so that there are tokens for both.
        joined = [end.join(texts) for texts in _texts() for end in ("\n\n", " and\n\n")]
        backend.train_from_iterator(joined, trainer)
        return backend.to_str()
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=860, special_tokens=["<unk>", *fallback], show_progress=False)
    # No line breaks here: as in Llama 2, a line break is the byte token <0x0A>.
    backend.train_from_iterator([" ".join(text.split()) for texts in _texts() for text in texts], trainer)
    model = json.loads(backend.to_str())["model"]
    vocab, merges = model["vocab"], [tuple(pair) for pair in model["merges"]]
    backend = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.decoder = decoders.ByteFallback()
    backend.add_special_tokens(["<unk>"])
    return backend.to_str()


@cache
def _texts() -> list[tuple[str, ...]]:
    from untrue.data import sets
    from untrue.data.items import read_items

    asked = [(question.text, question.answers["normal"]) for question in sets.questions("medical")[:60]]
    return [*asked, *((item.system_prompt,) for item in read_items()[:40])]


def _of(name: str, **settings: Any) -> Callable[[int, dict[str, Any]], Any]:
    """What makes a configuration of a class of transformers; a setting of None leaves the class's own."""
    chosen = {key: value for key, value in (SIZES | settings).items() if value is not None}

    def config(vocab_size: int, ids: dict[str, Any]) -> Any:
        import transformers

        return getattr(transformers, name)(vocab_size=vocab_size, **ids, **chosen)

    return config


def _trl(name: str) -> tuple[str, str]:
    """Template and source of one that TRL ships for comparison, read from where it is installed."""
    spec = find_spec("trl")
    assert spec and spec.origin
    text = (Path(spec.origin).parent / "chat_templates" / f"{name}.jinja").read_text("utf-8")
    return text, f"the family's own, read from the installed TRL (Apache-2.0): chat_templates/{name}.jinja"


def _written(name: str, documented: str) -> tuple[str, str]:
    """Template and source of one that was written here."""
    text = (Path(__file__).parent / "templates" / f"{name}.jinja").read_text("utf-8")
    return text, f"written to the documented format of {documented}"


LLAMA3 = {
    "tokenizer": "bytes",
    "split": "llama3",
    "bos": "<|begin_of_text|>",
    "eos": "<|eot_id|>",
    "add_bos": True,
    "special": ("<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>", "<|eom_id|>", "<|python_tag|>"),
    "stops": ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
}
QWEN = {
    "tokenizer": "bytes",
    "split": "llama3",
    "eos": "<|im_end|>",
    "pad": "<|endoftext|>",
    "special": ("<|im_start|>",),
    "words": ("<tool_call>", "</tool_call>"),
    "stops": ("<|im_end|>", "<|endoftext|>"),
}
QWEN3 = QWEN | {
    "words": ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
    "thinking": "switch: enable_thinking=False closes an empty block in the generation prompt; a reply gets a block",
}
GEMMA = {
    "tokenizer": "sentencepiece",
    "split": "never",
    "bos": "<bos>",
    "eos": "<eos>",
    "pad": "<pad>",
    "add_bos": True,
    "special": ("<start_of_turn>", "<end_of_turn>"),
    "stops": ("<eos>", "<end_of_turn>"),
}
LLAMA2 = {
    "tokenizer": "sentencepiece",
    "split": "first",
    "bos": "<s>",
    "eos": "</s>",
    "add_bos": True,
}
R1 = {
    "tokenizer": "bytes",
    "split": "llama3",
    "bos": "<｜begin▁of▁sentence｜>",
    "eos": "<｜end▁of▁sentence｜>",
    "pad": "<｜end▁of▁sentence｜>",
    "add_bos": True,
    "special": ("<|endoftext|>",),  # AutoTokenizer takes Qwen's class for Qwen's architecture, which has it
    "words": ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
    "thinking": "always opens: the generation prompt ends with <think> and a line break, a reply is written without",
    "system": "kept, bare before the first user message",
}
PHI3 = {
    "tokenizer": "sentencepiece",
    "split": "always",
    "bos": "<s>",
    "eos": "<|endoftext|>",
    "pad": "<|endoftext|>",
    "special": ("</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    "rstrip": ("</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    "stops": ("<|endoftext|>", "<|assistant|>", "<|end|>"),
}


def _families() -> list[Family]:
    def family(name: str, config: Callable[[int, dict[str, Any]], Any], template: tuple[str, str], **rest: Any) -> None:
        found.append(Family(name=name, config=config, template=template[0], source=template[1], **rest))

    found: list[Family] = []
    family("qwen3", _of("Qwen3Config", head_dim=8, tie_word_embeddings=True), _trl("qwen3"), **QWEN3)
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 256}
    family(
        "llama-3.2",
        _of("LlamaConfig", rope_parameters=rope, tie_word_embeddings=True),
        _trl("llama3_2"),
        system="kept; default: the dates alone",
        dated=True,
        **LLAMA3,
    )
    family(
        "gemma-2",
        _of(
            "Gemma2Config",
            head_dim=8,
            query_pre_attn_scalar=8,
            sliding_window=WINDOW,
            layer_types=["sliding_attention", "full_attention"],
        ),
        _trl("gemma"),
        window=WINDOW,
        system="refused: System role not supported",
        **GEMMA,
    )
    family(
        "mistral-v0.1",
        _of("MistralConfig", sliding_window=WINDOW),
        _written("mistral_v0_1", "Mistral-7B-Instruct-v0.1 as released"),
        window=WINDOW,
        system="refused: roles must alternate",
        **(LLAMA2 | {"split": "always"}),
    )
    family(
        "deepseek-r1-qwen",
        _of("Qwen2Config", use_sliding_window=False),
        _trl("deepseek_r1_distill"),
        **R1,
    )
    return found


FAMILIES: dict[str, Family] = {family.name: family for family in _families()}
