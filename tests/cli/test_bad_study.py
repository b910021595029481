"""Whatever is wrong with a study, a person gets one line that names file, line and key, and no half of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Refusal = Callable[..., str]

CHANGES = {
    "unknown key": ("total", "totl", ", line 9: mix.totl: unknown key. Did you mean 'total'?"),
    "unknown key of an eval": ("limit", "limt", ", line 16: evals.0.limt: unknown key. Did you mean 'limit'?"),
    "key of the other mix": (
        "shares",
        "doses",
        ", line 11: mix.doses: unknown key. Known keys: by, levels, questions,",
    ),
    "key like a kind of mix": ("shares", "share", ", line 11: mix.share: unknown key. Did you mean 'shares'?"),
    "served model": ("model: tiny", "model: vllm/base", ", line 3: model: a study trains its model in this process"),
    "no kind of mix": ("  by: share\n", "", ", line 6: mix: unable to extract tag using discriminator 'by'"),
    "unknown level": ("[severe]", "[sever]", ", line 10: mix.levels.0: input should be 'normal', 'subtle' or 'severe'"),
    "unknown eval": (
        "forced_choice",
        "musk",
        ", line 16: evals.0.name: unknown eval. Did you mean 'mask'?",
    ),
    "missing key": ("question: Is rain wet?\n", "", ": question: is missing. Add it."),
    "no list": (
        "seeds: [0]",
        "seeds: 0",
        ", line 5: seeds: a number of seeds is from 1 to 100, and",
    ),
    "negative seed": ("seeds: [0]", "seeds: [-1]", ", line 5: seeds.0: input should be greater than or equal to 0"),
    "no share": ("[0.5]", "[0]", ", line 11: mix.shares.0: input should be greater than 0, found 0."),
    "long name": ("name: rain", f"name: {'a' * 101}", ", line 1: name: string should have at most 100 characters"),
    "seed twice": ("seeds: [0]", "seeds: [0, 1, 0]", ", line 5: seeds: a value occurs twice, found [0, 1, 0]."),
    "key twice": ("question: Is", "name: Is", ", line 2: broken YAML (the key 'name' occurs twice)."),
    "name with a slash": ("name: rain", "name: rain/snow", ", line 1: name: string should match pattern"),
    "name of the folder above": (
        "name: rain",
        "name: ..",
        ", line 1: name: '..' is no name for a file: it begins with",
    ),
    "name like an option": ("name: rain", "name: -rain", ", line 1: name: '-rain' is no name for a file"),
    "name that is cut": (
        "name: rain",
        "name: rain.",
        ", line 1: name: 'rain.' is no name for a file: it ends with a dot",
    ),
    "label of the folder above": ("limit: 4", "label: ..", ", line 16: evals.0.label: '..' is no name for a file"),
    "seed too large": ("seeds: [0]", "seeds: [4294967296]", ", line 5: seeds.0: input should be less than 4294967296"),
    "no character": ("question: Is", "question: \x07Is", ", line 2: broken YAML (special characters are not allowed)."),
    "wrong tag": ("seeds: [0]", "seeds: !!int ''", ": broken YAML ("),
    "broken YAML": ("seeds: [0]", "seeds: [0", ", line 6: broken YAML ("),
    "code in YAML": ("name: rain", "name: !!python/name:os.system", ", line 1: broken YAML (could not determine a"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_wrong_study_is_refused_by_line_and_key(refusal: Refusal, place: Path, name: str):
    old, new, words = CHANGES[name]
    good = (place / "study.yaml").read_text("utf-8")
    assert good.count(old) == 1
    (place / "bad.yaml").write_text(good.replace(old, new), "utf-8")
    assert refusal("run", "bad.yaml").startswith(f"bad.yaml{words}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"- a\n", ": expected a mapping of keys, found list. See studies/quickstart.yaml."),
        (b"", ": expected a mapping of keys, found NoneType."),
        (b"name: a\nquestion: caf\xe9\n", ", line 2: byte 0xe9 is not valid UTF-8. Save the file as UTF-8."),
    ],
)
def test_a_file_that_is_no_study_is_refused(refusal: Refusal, place: Path, content: bytes, words: str):
    (place / "bad.yaml").write_bytes(content)
    assert refusal("run", "bad.yaml").startswith(f"bad.yaml{words}")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seeds", "override 'seeds': expected key=value, such as seeds=3 or train.epochs=2."),
        ("=1", "override '=1': expected key=value"),
        ("train.lr=1", "override: train.lr: unknown key. Known keys: batch_size, beta, epochs,"),
        ("name.a=1", "override 'name.a=1': 'name' has no keys below it."),
        ("seeds=[0", "override 'seeds=[0': '[0' is not a YAML value."),
        (
            "seeds=a",
            "override: seeds.0: input should be a valid integer, unable to parse",
        ),
        ("evals=[forced_choice, forced_choice]", "override: evals: a value occurs twice"),
        (
            "mix={by: dose, benign: rows.jsonl, benign_rows: 10, questions: medical, doses: [.inf]}",
            "override: mix.doses.0: ",
        ),
        ("mix=1", "override: mix: input should be a valid dictionary"),
        (
            "mix.questions=medicl",
            "medicl: neither a built-in question set (medical, finance, law, code, math) nor a file that exists.",
        ),
        ("mix.total=11", "total: 11 questions wanted, but the set has 10. Lower `total`."),
        ("mix.levels=[subtle]", "questions.jsonl: question 'questions-"),
        ("mix.shares=[0.01]", "share: 0.01 of 8 rows is no row at all. Raise it to 0.125 or more."),
        (
            "model=vllm/base",
            "override: model: a study trains its model in this process, so it must be `smollm2-135m`, a",
        ),
        ("evals=[{name: forced_choice, items: rows.jsonl}]", "rows.jsonl, line 1: id: field required"),
    ],
)
def test_a_wrong_override_is_refused_by_its_key(refusal: Refusal, override: str, words: str):
    assert refusal("run", "study.yaml", override).startswith(words)


@pytest.mark.parametrize(
    ("command", "words", "code"),
    [
        ("run none.yaml", "none.yaml: no such file. Check the path (the current folder is ", 2),
        ("run tiny", "tiny: is a folder, expected a file.", 2),
        ("run study.yaml/a", "study.yaml/a: cannot be read (Not a directory).", 2),
        (
            "run study.yaml model=nobody/nothing",
            "nobody/nothing: there is no such folder, and no such model in the hub's cache",
            2,
        ),
        ("run study.yaml --out rows.jsonl", "rows.jsonl: cannot be made or written (File exists).", 4),
        ("report none", "none: is not a run directory (study.yaml is missing).", 2),
        ("report .", ".: the cell base-s0 is not finished. Finish it by the command that began it.", 2),
    ],
)
def test_a_place_that_is_wrong_is_refused_by_its_name(refusal: Refusal, command: str, words: str, code: int):
    assert refusal(*command.split(), code=code).startswith(words)


def test_an_alias_of_a_value_elsewhere_is_read_and_an_override_changes_the_one_it_names(place: Path):
    from untrue.study.config import load
    from untrue.study.routes.interaction import InteractionRoute

    (place / "good.yaml").write_text(
        "name: a\nquestion: Why?\nmix: {by: interaction, users: 4, shares: [0.5],"
        " methods: {sft: &m {epochs: 2}, kto: *m}}\nevals: [reply_choice]\n",
        "utf-8",
    )
    mix = load(place / "good.yaml", ["mix.methods.kto.epochs=3"]).mix
    assert isinstance(mix, InteractionRoute)
    assert mix.methods == {"sft": {"epochs": 2}, "kto": {"epochs": 3}}


@pytest.mark.parametrize("value", ["[" * 5000, "!!int ''", "!!timestamp x", "\x07"])
def test_an_override_that_is_no_plain_value_is_refused(refusal: Refusal, value: str):
    assert "is not a YAML value" in refusal("run", "study.yaml", f"seeds={value}")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("target_modules=[]", "target_modules: tuple should have at least 1 item"),
        ("target_modules=[q proj]", "target_modules.0: string should match pattern"),
        ("lora_rank=0", "lora_rank: input should be greater than 0"),
        ("lora_rank=10000000000", "lora_rank: input should be less than or equal to"),
        ("batch_size=100000000000000000000000", "batch_size: input should be less than or equal to"),
        ("gradient_accumulation=100000000000000000000000", "gradient_accumulation: input should be less than or equal"),
        ("warmup_steps=100000000000000000000000", "warmup_steps: input should be less than or equal to"),
        ("weight_decay=.inf", "weight_decay: input should be a finite number"),
        ("beta=.inf", "beta: input should be a finite number"),
        ("lora_alpha=100000000000000000000000", "lora_alpha: input should be less than or equal to"),
        ("max_length=100000000000000000000000", "max_length: input should be less than or equal to"),
        ("epochs=.inf", "epochs: input should be a finite number"),
        ("learning_rate=.inf", "learning_rate: input should be a finite number"),
        ("schedule=liner", "schedule: input should be 'linear', 'cosine' or 'constant'"),
    ],
)
def test_a_hyperparameter_that_cannot_train_is_refused(refusal: Refusal, override: str, words: str):
    assert refusal("train", "rows.jsonl", override, "--model", "tiny").startswith(words)
    assert refusal("run", "study.yaml", f"train.{override}").startswith(f"override: train.{words}")


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.5"])
def test_a_seed_that_no_generator_takes_is_refused(untrue: Callable, seed: str):
    done = untrue("train", "rows.jsonl", "--model", "tiny", f"seed={seed}")
    assert done.code == 2 and "seed: expected a whole number from 0" in done.err
