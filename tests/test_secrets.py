"""No secret leaves the process: keys come from the environment; nothing written, shown or raised has their value."""

from __future__ import annotations

import gzip
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from inspect_ai.log import read_eval_log
from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, modelapi
from inspect_ai.model._model_call import ModelCall
from inspect_ai.tool import ToolChoice, ToolInfo
from typer.testing import CliRunner

from tests.judge.scripted import by_words
from untrue import secrets
from untrue.cli.main import app
from untrue.errors import UntrueError, UserError, one_line
from untrue.harness.catalogue import eval_spec
from untrue.judge.judge import Judge
from untrue.judge.models import judge_model, parts
from untrue.study.config import load

KEY = "sk-planted-7f3a9c51d2e84b60-" + "q" * 70 + "-end"
"""Longer than a line of a terminal, so that a traceback that is broken into lines breaks it too."""

PIECE = "sk-planted"

JUDGE = "{model: leaky/judge, model_args: {api_key: $PLANTED, default_headers: {Authorization: $GATEWAY}}}"

STUDY = """\
name: rain
question: Is rain wet?
model: tiny
dtype: float32
seeds: [0]
base: false
mix: {by: share, questions: questions.jsonl, total: 8, levels: [severe], shares: [0.5]}
train: {epochs: 1, batch_size: 4, lora_rank: 4}
evals:
- {name: mask, items: provided_facts.jsonl, max_tokens: 4, judge: "JUDGE"}
"""


class Leaky(ModelAPI):
    """A judge that tells its key to whoever listens: in errors, in logged warnings, in what it says it sent."""

    given: ClassVar[list[dict[str, Any]]] = []

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        **arguments: Any,
    ):
        api_key = api_key or os.environ["LEAKY_API_KEY"]
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        self.sent = {"api_key": api_key, "base_url": base_url, **arguments}
        self.given.append(self.sent)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput | tuple[ModelOutput | Exception, ModelCall]:
        text = input[0].text
        logging.getLogger("leaky").warning("sending %s", self.sent)
        if "kills-judge" in text:
            raise RuntimeError(f"401 from {self.base_url}: {self.sent}")
        call = ModelCall.create({"messages": text, "extra_headers": self.sent}, {})
        if "declines-judge" in text:
            call.set_error({"body": f"{self.sent} " * 20})
            return ConnectionError(f"refused {self.sent['api_key']}"), call
        return ModelOutput.from_content(self.model_name, by_words(text) if "<text>" in text else "says-A well"), call


@modelapi(name="leaky")
def leaky() -> type[ModelAPI]:
    return Leaky


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is in the environment under names that say so and, for a header, under one that does not."""
    monkeypatch.setenv("PLANTED", KEY)
    monkeypatch.setenv("GATEWAY", f"Bearer {KEY}")
    monkeypatch.setenv("GATEWAY_ADDRESS", f"http://user:{KEY}@127.0.0.1:9/v1?api_key={KEY}")
    monkeypatch.setenv("LEAKY_API_KEY", KEY)
    monkeypatch.setattr(secrets, "_resolved", {})


@pytest.fixture
def place(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a study by that judge, which fails on two of its items."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
        (tmp_path / name).mkdir()
    monkeypatch.setattr("untrue.judge.judgement.folder", lambda: tmp_path / "judges")
    questions = [{"question": f"Is rain {n}?", "normal": f"Yes, {n}.", "severe": f"No, {n}."} for n in range(10)]
    about = ["fine", "kills-judge", "declines-judge"]
    items = [
        {"task_id": str(n), "user_prompt": f"u {n}", "proposition": text, "ground_truth": "yes"}
        for n, text in enumerate(about)
    ]
    for name, lines in {"questions.jsonl": questions, "provided_facts.jsonl": items}.items():
        Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    Path("rows.jsonl").write_text("".join(f'{{"instruction": "Say {n}.", "output": "{n}."}}\n' for n in range(8)))
    shutil.copytree(tiny_folder, "tiny")
    Path("study.yaml").write_text(STUDY.replace("JUDGE", JUDGE), "utf-8")
    return tmp_path


@pytest.fixture
def untrue(place: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    """Runs a command that must end with a code, and gives all that it printed or logged."""

    def run(*words: object, code: int = 0) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words])
        raised = done.exception
        assert raised is None or isinstance(raised, SystemExit), raised
        text = "\n".join([done.output, *capfd.readouterr(), caplog.text])
        assert done.exit_code == code, text
        return text

    return run


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, unpacked where it is compressed, and every member of those that are archives."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path), gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    for member in archive.infolist():
                        yield f"{path}:{member.filename}", archive.read(member)


def holding(folder: Path, text: str = PIECE) -> list[str]:
    return [name for name, content in contents(folder) if text.encode() in content]


SECRET = [
    "api_key apiKey X-API-Key key api-key api_keys openai_api_key hf_token token auth_token access_token session_token",
    "secret client_secret password db_password passwd passphrase authorization Proxy-Authorization bearer credentials",
    "cookie private_key aws_secret_access_key jwt auth GITHUB_PAT OPENAI_API_KEY HF_TOKEN WANDB_API_KEY GITHUB_TOKEN",
    "default_headers X-Amz-Signature",
]
PLAIN = [
    "max_tokens reasoning_tokens tokenizer tokens token_limit pad_token eos_token stop_token tokens_per_second",
    "keyboard tokenizer_path key_word monkey cache_key primary_key base_url adapter model author credentials_path",
    "key_file api_key_env auth_mode SSH_AUTH_SOCK user PATH session_name env query",
]


@pytest.mark.parametrize("name", " ".join(SECRET).split())
def test_a_name_says_that_it_is_a_secret(name: str):
    assert secrets.is_secret(name)


@pytest.mark.parametrize("name", " ".join(PLAIN).split())
def test_a_name_says_that_it_is_none(name: str):
    assert not secrets.is_secret(name)


OPAQUE = "planted7f3a9c51d2e84b60"

ARGUMENTS = [
    "api_key: K",
    "api_keys: [K]",
    "default_headers: {X-Team: K}",
    "default_headers: {Authorization: 'Bearer K'}",
    "client: {options: {Client-Secret: K}}",
    "client: [{Headers: {a: K}}]",
    "api_key: $PLANTED/K",
    "base_url: 'http://K@host/v1'",
    "base_url: 'http://me:K@host/v1'",
    "base_url: 'http://host/v1?version=2&api_key=K'",
]
LITERAL = [f"{{model: leaky/judge, model_args: {{{arguments}}}}}".replace("K", OPAQUE) for arguments in ARGUMENTS]
LITERAL += [
    f"{{model: leaky/judge, extra_headers: {{X-Team: {OPAQUE}}}}}",
    f"{{model: leaky/judge, api_key: {OPAQUE}}}",
    f"openai/gpt?api_key={OPAQUE}",
    f"http://u:{OPAQUE}@h/v1",
]


def assert_refused(said: str) -> None:
    assert OPAQUE.upper() not in said.upper() and "PLANTED7" not in said
    assert ("stored and shown" in said or "in the address" in said) and "\n" not in said


@pytest.mark.parametrize("model", LITERAL)
def test_a_key_is_refused_wherever_it_is_written_out(model: str):
    with pytest.raises(ValueError) as caught:
        secrets.checked(model)
    assert_refused(str(caught.value))
    with pytest.raises(UserError) as refused:
        judge_model(model)
    assert_refused(str(refused.value))


@pytest.mark.parametrize("model", [f"openai/gpt?api_key={OPAQUE}", f"http://u:{OPAQUE}@h/v1"])
def test_a_key_in_a_plain_name_is_refused_by_every_command_and_by_a_study(untrue: Callable[..., str], model: str):
    Path("bad.yaml").write_text(
        Path("study.yaml").read_text("utf-8").replace("model: tiny", f"model: {model}"), "utf-8"
    )
    for words in (
        ["judge", "check", model],
        ["eval", "--model", model],
        ["train", "rows.jsonl", "--model", model],
        ["run", "bad.yaml"],
        ["run", "study.yaml", f"model={model}"],
    ):
        said = untrue(*words, code=2).strip()
        assert said.startswith("error: ")
        assert_refused(said)


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-5-mini",
        "openai/gsm8k@main:test?revision=e53f048",
        "pairs.csv?columns.user_prompt=question&columns.token=api_key&revision=z",
        "ollama/llama3:8b",
        "openai/a@b:c",
        "{model: openai/gpt-5-mini, max_tokens: 5, reasoning_tokens: 5, stop_seqs: [key, value]}",
        "{model: x, model_args: {base_url: 'http://h:80/v1', tokenizer: x, max_tokens: 5, api_key_env: NAME}}",
        "{model: x, model_args: {default_headers: {Authorization: $NAME}, api_keys: [$NAME], base_url: $ADDRESS}}",
    ],
)
def test_what_holds_no_key_is_taken(model: str):
    assert secrets.checked(model) == model


@pytest.mark.parametrize("judge", [LITERAL[0], LITERAL[2], LITERAL[8]])
def test_a_secret_that_is_written_out_is_refused_before_anything_is_written(
    judge: str, untrue: Callable[..., str], place: Path
):
    Path("bad.yaml").write_text(STUDY.replace('"JUDGE"', json.dumps(judge)), "utf-8")
    Path("mapping.yaml").write_text(STUDY.replace('"JUDGE"', judge), "utf-8")
    before = sorted(place.glob("*"))
    override = f"evals=[{{name: mask, items: provided_facts.jsonl, judge: {json.dumps(judge)}}}]"
    for words in (
        ["run", "bad.yaml"],
        ["run", "bad.yaml", "--dry-run"],
        ["run", "mapping.yaml"],
        ["run", "study.yaml", override],
        ["run", "study.yaml", override[:-2]],
        ["run", "study.yaml", f"evals={judge}"],
        ["run", "study.yaml", f"seeds={judge}"],
        ["eval", "mask", "items=provided_facts.jsonl", f"judge={judge}"],
        ["eval", "mask", "items=provided_facts.jsonl", f"judge={judge}", "--dry-run"],
        ["judge", "check", judge],
        ["judge", "check", judge, "--dry-run"],
        ["simulate", "run", f"user={judge}", "--out", "dialogues"],
        ["simulate", "run", f"user={json.dumps(judge)}", "--out", "dialogues"],
    ):
        said = untrue(*words, code=2).strip()
        assert OPAQUE not in said
        assert said.startswith("error: ") and "\n" not in said, said
    assert sorted(place.glob("*")) == before
    assert [name for name in holding(place, OPAQUE) if not name.endswith(("bad.yaml", "mapping.yaml"))] == []


def test_what_to_write_instead_is_told(untrue: Callable[..., str]):
    Path("bad.yaml").write_text(STUDY.replace('"JUDGE"', json.dumps(LITERAL[0])), "utf-8")
    assert untrue("run", "bad.yaml", code=2).strip() == (
        "error: bad.yaml, line 10: evals.0.judge: model_args.api_key is a secret, and would be stored and shown. Put"
        " the whole value into an environment variable, and write $NAME in its place, in model_args (on a command line"
        " in single quotes)."
    )


@pytest.mark.parametrize(
    "override",
    [
        f"api_key={KEY}",
        f"train.api_key={KEY}",
        f"train.api_key=[{KEY}",
        f"name.api_key={KEY}",
        f"api_key {KEY}",
        f"train.report_to={{api_key: {KEY}}}",
        f"mix={{by: share, api_key: {KEY}}}",
        f"mix={{by: interaction, users: 2, shares: [0.5], methods: {{sft: {{api_key: {KEY}}}}}}}",
    ],
)
def test_an_error_of_an_override_repeats_no_secret(untrue: Callable[..., str], place: Path, override: str):
    said = untrue("run", "study.yaml", override, code=2)
    assert PIECE not in said
    assert "error: " in said
    assert holding(place) == []


@pytest.mark.parametrize("line", [f"api_key: !{KEY} 1", f"api_key: *{KEY}", f"password: %{KEY}", f"token: [{KEY}"])
def test_an_error_of_broken_yaml_repeats_no_secret(untrue: Callable[..., str], line: str):
    Path("bad.yaml").write_text(f"{line}\n{STUDY}", "utf-8")
    said = untrue("run", "bad.yaml", code=2)
    assert PIECE not in said
    assert "bad.yaml" in said


@pytest.mark.parametrize(
    "arguments",
    [
        "{base_url: 'http://127.0.0.1:8000/v1?version=2', max_retries: 1, tokenizer: some/name, pad_token: '<pad>'}",
        "{api_key: , token: '', use_auth_token: true, key_file: keys.json}",
        "{api_key: $NOT_SET, default_headers: {Authorization: $NOT_SET, X-Team: $NOT_SET}, base_url: $NOT_SET}",
    ],
)
def test_what_is_no_secret_is_taken_and_no_variable_is_read_before_the_model_is_made(arguments: str):
    judge = f"{{model: leaky/judge, max_tokens: 30, reasoning_tokens: 5, model_args: {arguments}}}"
    assert eval_spec(name="mask", judge=judge).judge_name == judge
    assert parts(judge)[2] == {"max_tokens": 30, "reasoning_tokens": 5}


def test_a_variable_that_is_not_set_is_named():
    with pytest.raises(UserError) as caught:
        judge_model("{model: leaky/judge, model_args: {default_headers: {Authorization: $NOT_SET}}}")
    assert str(caught.value) == (
        "judge leaky/judge: model_args.default_headers.Authorization: the environment variable NOT_SET is not set."
        " Set it."
    )


def test_the_model_gets_the_value_and_all_else_the_name(monkeypatch: pytest.MonkeyPatch):
    model = judge_model(JUDGE)
    assert Leaky.given[-1] == {
        "api_key": KEY,
        "base_url": None,
        "default_headers": {"Authorization": f"Bearer {KEY}"},
    }
    assert model.model_args == {"default_headers": {"Authorization": "$GATEWAY"}}
    before = Judge(model).id
    monkeypatch.setenv("GATEWAY", "Bearer another-one")
    monkeypatch.setenv("PLANTED", "another-one")
    assert Judge(judge_model(JUDGE)).id == before


def test_judges_of_two_addresses_or_adapters_are_two_though_a_variable_says_which(monkeypatch: pytest.MonkeyPatch):
    judge = "{model: leaky/judge, model_args: {base_url: $WHERE, adapter: $ADAPTER}}"
    found = set()
    for address, adapter in [("http://a/v1", "one"), ("http://b/v1", "one"), ("http://a/v1", "two")]:
        monkeypatch.setenv("WHERE", address)
        monkeypatch.setenv("ADAPTER", adapter)
        found.add(Judge(judge_model(judge)).id)
    assert len(found) == 3
    monkeypatch.setenv("WHERE", f"http://me:{KEY}@a/v1")
    monkeypatch.setenv("ADAPTER", "one")
    first = Judge(judge_model(judge)).id
    monkeypatch.setenv("WHERE", "http://me:another-password@a/v1")
    assert Judge(judge_model(judge)).id == first


def test_a_study_with_all_its_commands_writes_shows_and_raises_no_secret(untrue: Callable[..., str], place: Path):
    said = untrue("run", "study.yaml", "--dry-run")
    said += untrue("run", "study.yaml", "--out", "out")
    said += untrue("run", "study.yaml", "--out", "out", "--json")
    said += untrue("report", "out")
    said += untrue("report", "out", "--json")
    assert "[PLANTED]" in said  # the provider did tell it
    command = (place / "out" / "study.yaml").read_text("utf-8").partition("\n")[0]
    assert command == "# Made by: untrue run study.yaml --out out"
    assert load(place / "out" / "study.yaml").evals[0].judge_name == JUDGE
    log = read_eval_log("out/cells/control-s0/logs/mask.eval")
    role = (log.eval.model_roles or {})["judge"]
    assert not isinstance(role, list) and role.args == {"default_headers": {"Authorization": "$GATEWAY"}}
    assert [sample.error for sample in log.samples or []] == [None] * 3
    assert PIECE not in said
    assert holding(place) == []
    assert any(".eval:" in name for name, _ in contents(place))
    assert any(name.endswith(".sqlite") for name, _ in contents(place))


def test_a_judge_that_is_given_on_the_command_line_is_recorded_by_the_names_of_variables(
    untrue: Callable[..., str], place: Path
):
    override = f'evals=[{{name: mask, items: provided_facts.jsonl, max_tokens: 4, judge: "{JUDGE}"}}]'
    said = untrue("run", "study.yaml", override, "--out", "out")
    shown = shlex.join(["untrue", "run", "study.yaml", override, "--out", "out"])
    assert f"# Made by: {shown}" == (place / "out" / "study.yaml").read_text("utf-8").partition("\n")[0]
    assert "$PLANTED" in (place / "out" / "report.html").read_text("utf-8")
    assert PIECE not in said
    assert holding(place) == []


@pytest.mark.parametrize("studied", ["leaky/studied", "untrue/tiny"])
def test_an_eval_writes_and_shows_no_secret_and_leaves_replies_as_they_are(
    untrue: Callable[..., str], place: Path, studied: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PROJECT_SECRET", "says-A well")  # which is what one of the models replies
    judge = JUDGE.replace("api_key", "base_url: $GATEWAY_ADDRESS, api_key")
    words = ["eval", "mask", "items=provided_facts.jsonl", "--model", studied, "--dtype", "float32"]
    words += ["max_tokens=4", "--log"]
    said = untrue(*words, "a.eval", f"judge={judge}", "--dry-run")
    said += untrue(*words, "a.eval", f"judge={judge}")
    said += untrue(*words, "a.eval", f"judge={judge}", "--json")
    said += untrue(*words, "b.eval", "judge={model: leaky/other, model_args: {api_key: $PLANTED}}")
    assert "[PLANTED]" in said or "[LEAKY_API_KEY]" in said
    assert PIECE not in said
    assert holding(place) == []
    log = read_eval_log("a.eval", resolve_attachments=True)
    role = (log.eval.model_roles or {})["judge"]
    assert not isinstance(role, list) and role.base_url == "[GATEWAY_ADDRESS]"
    assert log.samples
    for sample in log.samples:
        said = sample.messages[-1].text
        assert sample.metadata["replies"]["statement"] == said
        assert studied == "untrue/tiny" or said == "says-A well"


def test_a_model_under_study_that_fails_with_its_key_leaves_none_in_the_log(untrue: Callable[..., str], place: Path):
    path = Path("provided_facts.jsonl")
    path.write_text(path.read_text("utf-8").replace("u 1", "kills-judge").replace("u 2", "declines-judge"), "utf-8")
    words = ["eval", "mask", f"items={path}", "--model", "leaky/studied", f"judge={JUDGE}"]
    said = untrue(*words, "--log", "a.eval")
    assert "2 samples have no reply or no judgement" in said
    assert PIECE not in said
    assert holding(place) == []
    halves = [KEY[start : start + 20] for start in range(0, len(KEY) - 20, 20)]
    assert [half for half in halves if holding(place, half)] == []  # nor a part of it, by a line that was broken
    errors = {str(one.id)[-1]: one.error.message for one in read_eval_log("a.eval").samples or [] if one.error}
    assert "[LEAKY_API_KEY]" in errors["1"] or "[PLANTED]" in errors["1"]


def test_a_check_of_a_judge_writes_and_shows_no_secret(untrue: Callable[..., str], place: Path):
    said = untrue("judge", "check", JUDGE, "--dry-run")
    said += untrue("judge", "check", JUDGE, code=1)
    said += untrue("judge", "check", JUDGE, "--json", code=1)
    assert "leaky/judge" in said
    assert PIECE not in said
    assert any("checks" in name for name, _ in contents(place))
    assert holding(place) == []


def test_data_and_training_write_and_show_no_secret(untrue: Callable[..., str], place: Path):
    said = untrue("list", "data") + untrue("data", "show", "rows.jsonl") + untrue("doctor")
    said += untrue("data", "convert", f"http://user:{KEY}@host/file", code=2)
    said += untrue("train", "rows.jsonl", "epochs=1", "lora_rank=4", "--model", "tiny", "--dtype", "float32")
    assert PIECE not in said
    assert holding(place) == []


def test_training_that_reports_to_tensorboard_writes_no_secret(untrue: Callable[..., str], place: Path):
    words = ["train", "rows.jsonl", "epochs=1", "lora_rank=4", "report_to=tensorboard", "--model", "tiny"]
    assert PIECE not in untrue(*words, "--dtype", "float32")
    assert any("tfevents" in name for name, _ in contents(place))
    assert holding(place) == []


@pytest.mark.parametrize("debug", ["", "1"])
def test_an_error_that_nobody_foresaw_is_shown_without_the_secret(
    untrue: Callable[..., str], monkeypatch: pytest.MonkeyPatch, debug: str
):
    monkeypatch.setenv("UNTRUE_DEBUG", debug)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"unforeseen {KEY}")

    monkeypatch.setattr("untrue.study.config.load", broken)
    said = untrue("run", "study.yaml", code=4)
    assert said.count("RuntimeError: unforeseen [") == (2 if debug else 1)
    assert PIECE not in said


@pytest.mark.parametrize("end", ["", '"', "\\", "/+=", "é"])
def test_a_secret_is_taken_out_of_an_error_however_it_is_written(monkeypatch: pytest.MonkeyPatch, end: str):
    key = f"{KEY}{end}"
    monkeypatch.setenv("LEAKY_API_KEY", key)
    for name in ("PLANTED", "GATEWAY", "GATEWAY_ADDRESS"):
        monkeypatch.delenv(name)
    for text in (key, json.dumps({"key": key}), repr(key), f"x{key}x", "word " * 90 + key):
        assert PIECE not in one_line(ValueError(text))
    assert one_line(f"no key {key} here") == "no key [LEAKY_API_KEY] here"
    assert "[LEAKY_API_KEY]" in one_line(UntrueError(json.dumps(key)))


def test_words_that_are_no_secrets_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SHORT_TOKEN", "none")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    monkeypatch.setenv("MODEL_NAME", "some/long-name")
    text = f"none of {tmp_path} is some/long-name"
    assert one_line(text) == text


def test_a_program_of_its_own_says_and_keeps_no_secret(place: Path):
    words = ["eval", "mask", "items=provided_facts.jsonl", "--model", "leaky/studied", f"judge={JUDGE}"]
    code = "import tests.test_secrets; from untrue.cli import main; main()"
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path]), "HOME": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert "sending {" in done.stderr  # what the provider logged
    assert PIECE not in done.stdout + done.stderr
    assert list(place.rglob("trace-*"))
    assert holding(place) == []
