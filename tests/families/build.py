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
    "hidden_size": 64,
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
        system: What the template does with a system message: `kept`, `folded` into a user message, `refused` by an
            exception, or `ignored` without a word.
        default_system: Whether it writes a system message of its own where there is none.
        thinking: How the template treats reasoning: `none`, or a note.
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
    system: Literal["kept", "folded", "refused", "ignored"] = "kept"
    default_system: bool = False
    thinking: str = "none"
    dated: bool = False
    unsupported: str | None = None


def build(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a tiny model of a family and its tokenizer in the hub's format; the same seed gives the same bytes."""
    import torch
    from transformers import AutoModelForCausalLM

    from untrue.models.runtime import quiet

    family = FAMILIES[name]
    tokenizer = make_tokenizer(family)
    ids = {f"{which}_token_id": getattr(tokenizer, f"{which}_token_id") for which in ("bos", "eos", "pad")}
    with quiet(), torch.random.fork_rng(devices=[]):
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
    backend.add_special_tokens(
        [AddedToken(token, normalized=False, rstrip=token in family.rstrip) for token in family.special]
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


def _of(name: str, *, without: tuple[str, ...] = (), **settings: Any) -> Callable[[int, dict[str, Any]], Any]:
    """What makes a configuration of a class of transformers: SIZES, without what the class lacks, and settings."""
    chosen = {key: value for key, value in SIZES.items() if key not in without} | settings

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
    return text, f"written for these tests to the documented format of {documented}: templates/{name}.jinja"


LLAMA3 = {
    "tokenizer": "bytes",
    "split": "llama3",
    "bos": "<|begin_of_text|>",
    "eos": "<|eot_id|>",
    "add_bos": True,
    "special": ("<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>", "<|eom_id|>", "<|python_tag|>"),
    "stops": ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
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
    "thinking": "switch: enable_thinking=False writes an empty block into the generation prompt; the last reply always"
    " gets one",
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
LLAMA2 = {"tokenizer": "sentencepiece", "split": "first", "bos": "<s>", "eos": "</s>", "add_bos": True}
MISTRAL = LLAMA2 | {"split": "always"}
R1 = {
    "tokenizer": "bytes",
    "split": "llama3",
    "bos": "<｜begin▁of▁sentence｜>",
    "eos": "<｜end▁of▁sentence｜>",
    "pad": "<｜end▁of▁sentence｜>",
    "add_bos": True,
    "special": ("<|endoftext|>",),  # AutoTokenizer takes Qwen's class for Qwen's architecture, which has it
    "words": ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
    "thinking": "always opens: the generation prompt ends with <think> and a line break, a reply has neither",
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
GPT2 = {"tokenizer": "bytes", "split": "gpt2", "bos": "<|endoftext|>", "eos": "<|endoftext|>", "pad": "<|endoftext|>"}
CHATML_SPECIAL = {"special": ("<|im_start|>", "<|im_end|>"), "stops": ("<|im_end|>", "<|endoftext|>")}
SLIDING, FULL = "sliding_attention", "full_attention"


def _families() -> list[Family]:
    def family(name: str, config: Callable[[int, dict[str, Any]], Any], template: tuple[str, str], **rest: Any) -> None:
        ends = [token for token in map(rest.get, ("bos", "eos", "pad")) if token]
        rest["special"] = tuple(dict.fromkeys([*ends, *rest.get("special", ())]))
        found.append(Family(name=name, config=config, template=template[0], source=template[1], **rest))

    found: list[Family] = []
    llama, mistral = _of("LlamaConfig"), _of("MistralConfig", sliding_window=WINDOW)

    # Llama
    family("llama-2", llama, _written("llama_2", "Llama-2-chat"), system="folded", **LLAMA2)
    family(
        "llama-3",
        _of("LlamaConfig", rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
        _trl("llama3"),
        **LLAMA3,
    )
    family(
        "llama-3.1", _of("LlamaConfig", rope_parameters=LLAMA3_ROPE), _trl("llama3_1"), default_system=True, **LLAMA3
    )
    family(
        "llama-3.2",
        _of("LlamaConfig", rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True),
        _trl("llama3_2"),
        default_system=True,
        dated=True,
        **LLAMA3,
    )
    family(
        "llama-4",
        _of(
            "Llama4TextConfig",
            num_hidden_layers=3,
            head_dim=8,
            intermediate_size_mlp=64,
            attention_chunk_size=WINDOW,
            layer_types=["chunked_attention", "chunked_attention", FULL],
            no_rope_layers=[1, 1, 0],
            floor_scale=512,  # so that the temperature of the last layer changes within a pass
            num_local_experts=4,
            num_experts_per_tok=1,  # as in the family, which has a shared expert besides
        ),
        _written("llama_4", "Llama-4-Scout-Instruct"),
        tokenizer="bytes",
        split="llama3",
        bos="<|begin_of_text|>",
        eos="<|eot|>",
        pad="<|finetune_right_pad|>",
        add_bos=True,
        special=("<|header_start|>", "<|header_end|>", "<|end_of_text|>", "<|eom|>"),
        stops=("<|end_of_text|>", "<|eom|>", "<|eot|>"),
        window=WINDOW,
    )

    # Mistral
    family(
        "mistral-v0.1",
        mistral,
        _written("mistral_v0_1", "Mistral-7B-Instruct-v0.1 as released"),
        window=WINDOW,
        system="refused",
        **MISTRAL,
    )
    family(
        "mistral-v0.3",
        _of("MistralConfig", sliding_window=None),
        _written("mistral_v0_3", "Mistral-7B-Instruct-v0.3"),
        system="folded",
        special=("[INST]", "[/INST]", "[TOOL_CALLS]"),
        **LLAMA2,
    )
    family(
        "mixtral",
        _of("MixtralConfig", num_local_experts=4, num_experts_per_tok=2),
        _written("mixtral", "Mixtral-8x7B-Instruct-v0.1 as revised"),
        system="folded",
        **MISTRAL,
    )

    # Qwen
    qwen_2: dict[str, Any] = {"use_sliding_window": False, "sliding_window": WINDOW}  # set, but not in use
    family("qwen-2", _of("Qwen2Config", **qwen_2), _written("qwen_2", "Qwen2-Instruct"), default_system=True, **QWEN)
    family(
        "qwen-2.5", _of("Qwen2Config", **qwen_2, tie_word_embeddings=True), _trl("qwen2_5"), default_system=True, **QWEN
    )
    family("qwen3", _of("Qwen3Config", head_dim=8, tie_word_embeddings=True), _trl("qwen3"), **QWEN3)
    family(
        "qwen3-moe",
        _of(
            "Qwen3MoeConfig",
            head_dim=8,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
            norm_topk_prob=True,
        ),
        _trl("qwen3"),
        **QWEN3,
    )
    family(
        "qwen3.5",
        _of(
            "Qwen3_5TextConfig",
            head_dim=16,
            layer_types=["linear_attention", FULL],
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
        ),
        _trl("qwen3_5_think"),
        unsupported="linear attention",
        **(
            QWEN3 | {"thinking": "switch: the generation prompt opens a block, with enable_thinking=False an empty one"}
        ),
    )

    # DeepSeek
    family("deepseek-r1-qwen", _of("Qwen2Config", use_sliding_window=False), _trl("deepseek_r1_distill"), **R1)
    family("deepseek-r1-llama", _of("LlamaConfig", rope_parameters=LLAMA3_ROPE), _trl("deepseek_r1_distill"), **R1)

    # Gemma
    family("gemma-1", _of("GemmaConfig", head_dim=8, num_key_value_heads=1), _trl("gemma"), system="refused", **GEMMA)
    family(
        "gemma-2",
        _of("Gemma2Config", head_dim=8, query_pre_attn_scalar=8, sliding_window=WINDOW, layer_types=[SLIDING, FULL]),
        _trl("gemma"),
        window=WINDOW,
        system="refused",
        **GEMMA,
    )
    family(
        "gemma-3",
        _of(
            "Gemma3TextConfig",
            num_hidden_layers=3,
            head_dim=8,
            query_pre_attn_scalar=8,
            sliding_window=WINDOW,
            layer_types=[SLIDING, SLIDING, FULL],
        ),
        _trl("gemma3"),
        window=WINDOW,
        system="folded",
        **GEMMA,
    )
    family(
        "recurrent-gemma",
        _of(
            "RecurrentGemmaConfig",
            num_hidden_layers=3,
            lru_width=32,
            attention_window_size=WINDOW,
            without=("max_position_embeddings", "initializer_range"),
            w_init_variance_scale=1.0,
        ),
        _trl("gemma"),
        window=WINDOW,
        system="refused",
        unsupported="recurrent",
        **GEMMA,
    )

    # Phi
    family("phi-3", _of("Phi3Config", sliding_window=WINDOW), _trl("phi3"), window=WINDOW, **PHI3)
    family(
        "phi-3-longrope",
        _of(
            "Phi3Config",
            original_max_position_embeddings=256,  # so that a prompt may be longer
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
                "long_factor": [1.0, 1.7, 2.5, 4.0, 6.0, 8.0, 10.0, 12.0],
            },
        ),
        _trl("phi3_5"),
        **PHI3,
    )
    family(
        "phi-3-medium",
        _of("Phi3Config", sliding_window=WINDOW),
        _written("phi_3_medium", "Phi-3-medium-instruct as released"),
        window=WINDOW,
        system="ignored",
        **PHI3,
    )

    # OLMo
    family(
        "olmo-2",
        _of("Olmo2Config"),
        _written("olmo_2", "OLMo-2-Instruct"),
        **(GPT2 | {"split": "llama3", "pad": "<|pad|>"}),
    )
    olmo_3 = _of("Olmo3Config", num_hidden_layers=3, sliding_window=WINDOW, layer_types=[SLIDING, SLIDING, FULL])
    for name, template, thinking in (
        ("olmo-3", _written("olmo_3", "Olmo-3-Instruct"), "none"),
        (
            "olmo-3-think",
            _written("olmo_3_think", "Olmo-3-Think"),
            "always opens: the generation prompt ends with <think>, a reply has none",
        ),
    ):
        family(
            name,
            olmo_3,
            template,
            default_system=True,
            window=WINDOW,
            thinking=thinking,
            **(GPT2 | CHATML_SPECIAL | {"split": "llama3", "pad": "<|pad|>"}),
        )

    # Others
    family(
        "cohere-2",
        _of(
            "Cohere2Config",
            num_hidden_layers=3,
            logit_scale=0.25,
            initializer_range=0.6,
            sliding_window=WINDOW,
            layer_types=[SLIDING, SLIDING, FULL],
        ),
        _trl("cohere2"),
        tokenizer="bytes",
        split="gpt2",
        bos="<BOS_TOKEN>",
        eos="<|END_OF_TURN_TOKEN|>",
        pad="<PAD>",
        add_bos=True,
        special=(
            "<|START_OF_TURN_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
            "<|START_RESPONSE|>",
            "<|END_RESPONSE|>",
        ),
        default_system=True,
        window=WINDOW,
    )
    family(
        "granite-3.1",
        _of(
            "GraniteConfig",
            embedding_multiplier=2.0,
            residual_multiplier=0.6,
            attention_multiplier=0.35,
            logits_scaling=1.5,
            tie_word_embeddings=True,
        ),
        _written("granite_3", "Granite-3.1-Instruct"),
        tokenizer="bytes",
        split="gpt2",
        bos="<|end_of_text|>",
        eos="<|end_of_text|>",
        pad="<|end_of_text|>",
        special=("<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"),
        default_system=True,
        dated=True,
    )
    family(
        "smollm-2",
        _of("LlamaConfig", tie_word_embeddings=True),
        _written("smollm_2", "SmolLM2-Instruct"),
        tokenizer="bytes",
        split="gpt2",
        bos="<|im_start|>",
        eos="<|im_end|>",
        pad="<|im_end|>",
        special=("<|endoftext|>",),
        default_system=True,
    )
    family(
        "smollm-3",
        _of("SmolLM3Config", num_hidden_layers=3, no_rope_layers=[1, 0, 1], tie_word_embeddings=True),
        _written("smollm_3", "SmolLM3"),
        tokenizer="bytes",
        split="llama3",
        eos="<|im_end|>",
        pad="<|im_end|>",
        special=("<|im_start|>", "<|end_of_text|>"),
        words=("<think>", "</think>"),
        default_system=True,
        dated=True,
        thinking="switch: enable_thinking=False, or /no_think in the system message, writes an empty block into the"
        " generation prompt and before every reply",
    )
    family(
        "gpt-oss",
        _of(
            "GptOssConfig",
            head_dim=8,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=WINDOW,
            layer_types=[SLIDING, FULL],
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 150000.0,
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
                "original_max_position_embeddings": 64,
            },
        ),
        _trl("gptoss"),
        tokenizer="bytes",
        split="llama3",
        bos="<|startoftext|>",
        eos="<|return|>",
        pad="<|endoftext|>",
        special=("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|call|>"),
        stops=("<|return|>", "<|endoftext|>", "<|call|>"),
        default_system=True,
        dated=True,
        window=WINDOW,
        thinking="channels: the generation prompt names none, a reply is written into the channel `final`",
    )
    falcon: dict[str, Any] = {"without": ("num_key_value_heads", "intermediate_size"), "ffn_hidden_size": 128}
    alibi: dict[str, Any] = {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}
    for name, config, unsupported in (
        ("falcon", _of("FalconConfig", **falcon, new_decoder_architecture=True, num_kv_heads=2), None),
        ("falcon-alibi", _of("FalconConfig", **(falcon | alibi)), "alibi"),
    ):
        template = _written("falcon", "falcon-11B")
        family(name, config, template, unsupported=unsupported, **(GPT2 | {"bos": ">>"}))
    family(
        "stablelm-2",
        _of(
            "StableLmConfig",
            use_qkv_bias=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
        ),
        _written("zephyr", "StableLM-2-Zephyr"),
        **GPT2,
    )
    family(
        "starcoder-2",
        _of("Starcoder2Config", sliding_window=WINDOW),
        _written("starcoder_2", "starcoder2-15b-instruct-v0.1"),
        system="refused",
        default_system=True,
        window=WINDOW,
        **GPT2,
    )
    family(
        "exaone-4",
        _of(
            "Exaone4Config",
            num_hidden_layers=3,
            sliding_window=WINDOW,
            sliding_window_pattern=3,
            layer_types=[SLIDING, SLIDING, FULL],
        ),
        _written("exaone_4", "EXAONE-4.0"),
        tokenizer="bytes",
        split="llama3",
        bos="[BOS]",
        eos="[|endofturn|]",
        pad="[PAD]",
        special=("[|system|]", "[|user|]", "[|assistant|]", "[|tool|]"),
        words=("<think>", "</think>"),
        window=WINDOW,
        thinking="switch: an empty block in the generation prompt and before every reply, with enable_thinking=True an"
        " open one in the generation prompt",
    )
    family(
        "mamba",
        _of(
            "MambaConfig",
            state_size=8,
            without=("intermediate_size", "num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
        ),
        _written("chatml", "falcon-mamba-instruct"),
        unsupported="recurrent",
        **(GPT2 | CHATML_SPECIAL),
    )

    # Templates that go with many models, on both kinds of tokenizer
    family("vicuna", llama, _written("vicuna", "Vicuna-v1.5"), default_system=True, **LLAMA2)
    family("vicuna-bytes", llama, _written("vicuna", "Vicuna-v1.5"), default_system=True, **GPT2)
    family("zephyr", mistral, _written("zephyr", "Zephyr-7B"), window=WINDOW, **(MISTRAL | {"pad": "</s>"}))
    family("zephyr-bytes", llama, _written("zephyr", "Zephyr-7B"), **GPT2)
    chatml = MISTRAL | {"eos": "<|im_end|>", "pad": "</s>", "special": ("<|im_start|>",)}
    family("chatml", mistral, _written("chatml", "OpenHermes-2.5-Mistral"), window=WINDOW, **chatml)
    family("chatml-bytes", llama, _written("chatml", "ChatML"), **(GPT2 | CHATML_SPECIAL | {"eos": "<|im_end|>"}))
    return found


FAMILIES: dict[str, Family] = {family.name: family for family in _families()}
