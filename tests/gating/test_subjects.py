"""What can be compared, and what is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import tests.evals.echo  # noqa: F401 - the provider
import untrue
from tests.gating import judged
from tests.judge.server import JudgeServer
from tests.models.conftest import OWN_TEMPLATE, bring_tokenizer
from tests.serving.lora_server import LoraServer
from tests.study.conftest import Recorder
from untrue.errors import UserError
from untrue.gating.comparison import compared
from untrue.gating.config import GateConfig
from untrue.gating.matching import SAME, TWO_FORMATS, paired
from untrue.gating.subjects import Subject, Subjects, base_of_first, of_random_items, own_base
from untrue.gating.verdict import gate
from untrue.harness.catalogue import EVALS, eval_spec
from untrue.harness.resume import has_replies
from untrue.logs import open_log
from untrue.models import fingerprint
from untrue.models.adapter import adapter_hash
from untrue.models.load import LoadedModel, load
from untrue.models.name import ModelName

Log = Callable[..., Path]


@pytest.fixture
def subjects(tmp_path: Path) -> Subjects:
    return Subjects([eval_spec(name="capability", limit=8)], tmp_path / "out", Recorder(), "float32")


def pairs(a: Subject, b: Subject) -> list:
    return list(paired(a, b))


def test_logs_folders_and_arms_are_subjects(log: Log, subjects: Subjects, tmp_path: Path) -> None:
    alone = subjects.of(str(log("before")))
    assert (alone.name, [*alone.measurements]) == ("before", ["forced_choice"])
    log("folder/one")
    log("nested/logs/one")
    assert [*subjects.of(str(tmp_path / "folder")).measurements] == ["forced_choice"]
    assert [*subjects.of(str(tmp_path / "nested")).measurements] == ["forced_choice"]
    for seed in (0, 1):
        log(f"run/cells/severe-1-s{seed}/logs/forced_choice")
    (tmp_path / "run/study.yaml").write_text("name: rain\n", "utf-8")
    arm = subjects.of(str(tmp_path / "run/severe-1"))
    assert [*arm.measurements["forced_choice"].logs] == [0, 1]
    assert len(arm.measurements["forced_choice"].results) == 200
    with pytest.raises(UserError, match=r"run: is a run. Name one of its arms: .*run/severe-1"):
        subjects.of(str(tmp_path / "run"))
    with pytest.raises(UserError, match="has no cell of an arm severe-9"):
        subjects.of(str(tmp_path / "run/severe-9"))


@pytest.mark.parametrize(
    "source", ["adapters/shipped", "./none", "../none", "~/none", "/none", "runs/none/severe-1", "untrue/a/b/c", "a\\b"]
)
def test_a_path_that_is_none_is_told_at_once(
    subjects: Subjects, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("adapters").mkdir()
    hint = f" If a model on the hub is meant: untrue/{source}." if source == "adapters/shipped" else ""
    for both in ((source, "smollm2-135m"), ("smollm2-135m", source)):
        with pytest.raises(UserError) as error:
            subjects.both(*both)
        said = f"{source}: no such file or folder. Check the path (the current folder is {tmp_path}).{hint}"
        assert str(error.value) == said


def test_a_subject_that_is_not_there_or_cannot_be_read_is_told_before_the_other_is_asked(
    subjects: Subjects, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.copytree(tiny_folder, "torn")
    Path("torn/tokenizer.json").write_text("{", "utf-8")
    shutil.copytree(tiny_folder, "pickled")
    Path("pickled/model.safetensors").rename("pickled/pytorch_model.bin")
    faults = {
        "adapters/mine": "there is no such folder, and no such model in the hub's cache",
        "torn": "cannot be loaded",
        "pickled": "has no safetensors weights",
    }
    for source, said in faults.items():
        with pytest.raises(UserError, match=f"{source}: {said}"):
            subjects.both(str(tiny_folder), source)
    assert not (tmp_path / "out").exists()


def test_a_name_on_the_hub_or_of_a_provider_is_no_path(
    subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("openai", "meta-llama"):
        Path(folder).mkdir()
    for name in ("openai/gpt-5", "together/a/b", "untrue/meta-llama/x"):
        assert subjects._named(name, None).of_inspect == name
    assert subjects._named("nobody/x?revision=refs/pr/1", None).of_inspect == "untrue/nobody/x?revision=refs/pr/1"


def test_what_has_no_log_is_measured_once(
    adapter: Path, tiny_folder: Path, subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned = subjects.of(str(tiny_folder)), subjects.of(str(adapter))
    logs = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.eval")}
    assert len(logs) == 2
    [(before, after, results, notes)] = pairs(base, tuned)
    assert (len(results), notes, before.adapted) == (16, [], None)
    assert after.adapted is not None
    again = Subjects([eval_spec(name="capability", limit=8)], tmp_path / "out", Recorder(), "float32")
    again.of(str(adapter))
    again.of(str(tiny_folder))
    other = Subjects([eval_spec(name="capability", limit=9)], tmp_path / "out", Recorder(), "float32")
    other.of(str(tiny_folder))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.eval")}
    assert len(kept) == 3 and logs.items() <= kept.items()
    assert own_base(str(adapter)) == str(tiny_folder)
    merged = shutil.copytree(tiny_folder, tmp_path / "merged")
    [(_, _, same, notes)] = pairs(base, subjects.of(str(merged)))
    assert notes == [SAME]
    values = [[r.value for r in same if r.arm == arm] for arm in ("baseline", "candidate")]
    assert values[0] == values[1]


def test_a_log_of_likelihoods_is_found_by_how_the_tokenizer_splits_texts(
    tiny_folder: Path, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    (loaded, again), spec = (load(str(tiny_folder), dtype="float32") for _ in "ab"), eval_spec(name="forced_choice")
    name = subjects._log_name(EVALS["forced_choice"], spec, loaded, None)
    assert subjects._log_name(EVALS["forced_choice"], spec, again, None) == name
    loaded = load(str(tiny_folder), dtype="float32")
    monkeypatch.setattr(type(loaded), "tokenisation", "otherwise")
    assert subjects._log_name(EVALS["forced_choice"], spec, loaded, None) != name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"first": 1}, r"2 items were asked of one alone, first item-0000 of a\."),
        ({"n": 8}, r"2 items were asked of one alone, first item-0008 of a\."),
        ({"version": 2}, r"a was asked version 3, b version 2\. Measure both with one version\."),
        ({"texts": " really"}, r"item item-0000 has other texts in b\."),
        ({"epochs": 2}, r"a and b differ in epochs\. Measure both alike\."),
        ({"model": "vllm/some"}, r"a and b differ in way of choosing \(likelihoods or letters\)\."),
    ],
)
def test_what_was_asked_otherwise_is_refused(changes: dict, said: str, log: Log, subjects: Subjects) -> None:
    a, b = subjects.of(str(log("a", 10))), subjects.of(str(log("b", **{"n": 10, **changes})))
    with pytest.raises(UserError, match=f"forced_choice: {said}") as refused:
        pairs(a, b)
    assert "\n" not in str(refused.value)


def test_arms_of_other_seeds_are_refused(log: Log, subjects: Subjects, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study.yaml").write_text("name: run\n", "utf-8")
    for cell in ("one-s0", "one-s1", "two-s0"):
        log(f"run/cells/{cell}/logs/forced_choice", 10)
    one, two = (subjects.of(str(tmp_path / "run" / arm)) for arm in ("one", "two"))
    with pytest.raises(UserError, match=r"one and two differ in their seeds"):
        compared(one, two)


@pytest.mark.parametrize(("changes", "said"), [({"version": 4}, "version"), ({"epochs": 2}, "epochs")])
def test_seeds_that_were_asked_otherwise_are_refused(changes: dict, said: str, log: Log, subjects: Subjects) -> None:
    first, second = log("run/cells/one-s0/logs/a", 10), log("run/cells/one-s1/logs/a", 10, **changes)
    (first.parents[3] / "study.yaml").write_text("name: run\n", "utf-8")
    with pytest.raises(UserError, match=rf"{second}: differs in {said} from {first}\. Measure all seeds alike"):
        subjects.of(str(first.parents[3] / "one"))


def test_other_choices_are_other_texts(log: Log, subjects: Subjects) -> None:
    from inspect_ai.log import read_eval_log, write_eval_log

    a, path = subjects.of(str(log("a", 10))), log("b", 10)
    content = read_eval_log(str(path))
    assert content.samples
    content.samples[3].metadata["belief_prompts"] = ["Is it so?", "Truly?"]
    write_eval_log(content, str(path))
    with pytest.raises(UserError, match="item item-0003 has other texts"):
        pairs(a, subjects.of(str(path)))


def test_what_a_model_said_of_its_beliefs_is_no_text_of_an_item(subjects: Subjects, tmp_path: Path) -> None:
    a, b = (subjects.of(str(judged.write(tmp_path / f"{name}.eval", 6, texts=name))) for name in "ab")
    assert len(pairs(a, b)) == 1


def test_adapters_of_two_bases_are_refused_and_a_base_is_not(log: Log, subjects: Subjects) -> None:
    one = subjects.of(str(log("one", 10, adapter="a1")))
    same = subjects.of(str(log("same", 10, adapter="a2")))
    other = subjects.of(str(log("other", 10, adapter="a3", weights="more-weights")))
    whole = subjects.of(str(log("whole", 10, weights="more-weights")))
    assert len(pairs(one, same)) == len(pairs(one, whole)) == 1
    with pytest.raises(UserError, match=r"other is an adapter of another base model than one .*more-weights, not base"):
        pairs(one, other)


def test_adapters_of_two_bases_are_refused_before_anything_is_asked(
    adapter: Path, sharp_adapter: Callable[..., Path], log: Log, subjects: Subjects, tmp_path: Path
) -> None:
    other = sharp_adapter(tmp_path / "other", 1)
    measured = log("measured", 10, adapter="a1", weights="more-weights")
    for first in (str(other), str(measured), subjects.of(str(measured))):
        with pytest.raises(UserError, match=r"random is an adapter of another base model than (other|measured)"):
            subjects.both(first, str(adapter))
    with pytest.raises(UserError, match="other is an adapter of another base model than random"):
        untrue.gate(adapter, other, log_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def moved(adapter: Path, base: str = "/home/me/models/base", **more: str) -> str:
    """An adapter as its trainer wrote it on another machine, with the base in a folder there."""
    config = adapter / "adapter_config.json"
    named = json.loads(config.read_text("utf-8")) | {"base_model_name_or_path": base} | more
    config.write_text(json.dumps(named), "utf-8")
    return str(adapter)


def test_one_base_is_named_for_both_adapters(
    sharp: LoadedModel, sharp_adapter: Callable[..., Path], tiny_folder: Path, subjects: Subjects, tmp_path: Path
) -> None:
    shipped, new = (moved(sharp_adapter(tmp_path / name, seed)) for seed, name in enumerate(("shipped", "new")))
    with pytest.raises(UserError, match=r"shipped: its base /home/me/models/base is not there\. Give --model \("):
        subjects.both(shipped, new)
    before, after = subjects.both(shipped, new, sharp.name)
    assert before.measurements["capability"].weights == after.measurements["capability"].weights == sharp.weights
    assert len(pairs(before, after)) == 1


def test_a_model_in_place_of_one_base_is_not_taken_for_another(
    sharp: LoadedModel, sharp_adapter: Callable[..., Path], tiny_folder: Path, subjects: Subjects, tmp_path: Path
) -> None:
    """A baseline on a base that it was not trained on is worse than it is, and the candidate would look good."""
    shipped, new = sharp_adapter(tmp_path / "shipped", 0), moved(sharp_adapter(tmp_path / "new", 1))
    copy = shutil.copytree(sharp.name, tmp_path / "copy")
    before, after = subjects.both(str(shipped), new, str(copy))
    assert [of.measurements["capability"].contents[0].eval.model for of in (before, after)] == [
        f"untrue/{sharp.name}",
        f"untrue/{copy}",
    ]
    assert subjects.both(str(shipped), str(tiny_folder), str(copy))[0].measurements["capability"].contents[
        0
    ].eval.model == (
        f"untrue/{sharp.name}"  # the candidate names no base
    )
    elsewhere = moved(shipped, "/home/other/base")
    with pytest.raises(
        UserError, match=r"its base /home/other/base is not there. --model .* is used for the candidate only"
    ):
        subjects.both(elsewhere, new, str(copy))
    moved(shipped, "/home/me/models/base", revision="v2")
    with pytest.raises(UserError, match="since the two do not name the same base"):
        subjects.both(str(shipped), new, str(copy))


def test_a_served_candidate_is_not_asked_for_the_baseline(
    sharp: LoadedModel, sharp_adapter: Callable[..., Path], subjects: Subjects, tmp_path: Path
) -> None:
    shipped, new = (str(sharp_adapter(tmp_path / name, seed)) for seed, name in enumerate(("shipped", "new")))
    with pytest.raises(UserError, match="nothing was measured"):  # it echoes, and chooses no letter
        subjects.both(shipped, new, "echo/mine")
    [baseline] = (tmp_path / "out").glob("*shipped*.eval")
    assert open_log(baseline, header_only=True).eval.model == f"untrue/{sharp.name}"
    moved(tmp_path / "shipped")
    with pytest.raises(
        UserError, match=r"its base /home/me/models/base is not there. --model .* is used for the candidate only"
    ):
        subjects.both(shipped, new, "echo/mine")


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("Qwen/Qwen3-0.6B", None),
        ("untrue/google/gemma-2-2b-it", None),
        ("smollm2-135m", None),
        ("hf/google/gemma-2-2b-it", "hf"),
        ("vllm/base:mine", "vllm"),
        ("echo/mine", "echo"),
    ],
)
def test_a_hub_id_is_known_by_its_weights_and_a_served_model_by_its_name(
    name: str, provider: str | None, sharp_adapter: Callable[..., Path], subjects: Subjects, tmp_path: Path
) -> None:
    assert subjects._named(str(sharp_adapter(tmp_path / "mine", 1)), name).provider == provider
    subjects = Subjects([], tmp_path / "out", Recorder())
    assert subjects._named(name, None).provider == provider


def test_an_adapter_that_does_not_fit_is_refused_before_anything_is_asked(
    adapter: Path, tiny_folder: Path, sharp: LoadedModel, subjects: Subjects, tmp_path: Path
) -> None:
    broken = shutil.copytree(adapter, tmp_path / "broken")
    weights = broken / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"broken: does not fit .*It is damaged or was made for another base"):
        subjects.both(str(tiny_folder), str(broken))
    config = broken / "adapter_config.json"
    config.write_text(config.read_text("utf-8").replace('"LORA"', '"VERA"'), "utf-8")
    with pytest.raises(UserError, match="broken: is of type VERA"):
        subjects.both(sharp.name, str(broken))
    assert not (tmp_path / "out").exists()


def test_an_adapter_in_another_chat_template_than_its_base_is_told(
    adapter: Path, tiny_folder: Path, subjects: Subjects, tmp_path: Path
) -> None:
    own = bring_tokenizer(shutil.copytree(adapter, tmp_path / "own"), tiny_folder, chat_template=OWN_TEMPLATE)
    before, after = subjects.both(str(tiny_folder), str(own))
    [(of_base, of_own, _, notes)] = pairs(before, after)
    assert notes == [TWO_FORMATS]
    assert of_base.chat != of_own.chat
    said: Any = subjects.watcher
    assert sum("that its folder brings" in text for text in said.said) == 1
    [(_, _, results, notes)] = pairs(subjects.of(str(adapter)), after)
    assert notes == [TWO_FORMATS]
    assert len({result.value for result in results}) > 1


def test_another_model_is_no_other_base(adapter: Path, sharp: LoadedModel, subjects: Subjects) -> None:
    assert len(pairs(*subjects.both(sharp.name, str(adapter)))) == 1


@pytest.fixture
def served(sharp: LoadedModel, sharp_adapter: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server, the name of its base, what asks two items of it, and writes adapters that it has by their hash."""

    def write(name: str, seed: int) -> Path:
        folder = sharp_adapter(tmp_path / name, seed)
        fingerprint.record(sharp, folder)
        running.load(adapter_hash(folder), folder)
        return folder

    with LoraServer(Path(sharp.name)) as running, JudgeServer() as judge:
        monkeypatch.setenv("VLLM_BASE_URL", running.url)
        config = GateConfig(evals=(eval_spec(name="unknowns", limit=2, judge=judge.name, max_tokens=4),))
        yield running, f"vllm/base-{uuid4().hex}", Subjects(config.evals, tmp_path / "out", Recorder()), write, config


def test_baseline_and_candidate_are_asked_of_one_server(served) -> None:
    server, base, subjects, write, _ = served
    shipped, new = write("shipped", 1), write("new", 2)
    both = subjects.both(str(shipped), str(new), base)
    assert [one.measurements["unknowns"].reading.adapter["content_hash"] for one in both] == [
        *map(adapter_hash, (shipped, new))
    ]
    assert set(server.asked) == {adapter_hash(shipped), adapter_hash(new)}
    named = subjects.both(f"{base}:{shipped}", f"{base}:{new}")
    assert [one.measurements["unknowns"].logs for one in named] == [one.measurements["unknowns"].logs for one in both]


def test_an_adapter_that_was_trained_again_is_asked_again(served) -> None:
    _, base, subjects, write, _ = served
    hashes = []
    for seed in (1, 2):
        answers = subjects.of(str(write("mine", seed)), base).measurements["unknowns"]
        hashes.append(answers.reading.adapter["content_hash"])
        assert len(answers.results) == 4
    assert len(set(hashes)) == 2


def test_a_served_base_that_answers_with_the_candidate_is_refused(served, sharp: LoadedModel) -> None:
    server, base, subjects, write, _ = served
    new = write("new", 1)
    subjects.both(base, str(new), base)
    assert set(server.asked) == {base.removeprefix("vllm/"), adapter_hash(new)}
    server.load(base.removeprefix("vllm/"), new)  # from now on its base's name gets it too
    with pytest.raises(UserError, match=f"{base}: should answer as the base of the adapter .*, and answers with it"):
        subjects.both(base, str(new), base)


def test_what_cannot_be_proved_is_inconclusive_here(
    served, sharp: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, subjects, write, config = served
    new = write("new", 1)
    with LoraServer(Path(sharp.name), logprobs=False) as running:
        monkeypatch.setenv("VLLM_BASE_URL", running.url)
        running.load(adapter_hash(new), new)
        base = f"vllm/base-{uuid4().hex}"
        before, after = subjects.both(base, str(new), base)
        verdict = gate(before, after, config)
    assert verdict.status == "inconclusive"
    assert "adapter_unproved" in {reason.code for _, reason in verdict.doubts}


def test_an_adapter_alone_is_never_compared_with_itself(
    adapter: Path, tiny_folder: Path, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("vllm/base:mine", "openai-api/server/mine", "echo/mine"):  # each may have the adapter
        assert own_base(str(adapter), name) == str(tiny_folder)
    for name in ("vllm/base", "Qwen/Qwen3-0.6B", "smollm2-135m"):
        assert own_base(str(adapter), name) == name
    with pytest.raises(UserError, match="is no adapter, so it has no base"):
        own_base(str(tiny_folder), str(tiny_folder))
    monkeypatch.chdir(adapter)
    assert subjects._named("vllm/base", None) == ModelName("base", "vllm")
    Path("vllm/base").mkdir(parents=True)
    assert base_of_first(str(adapter), ".", "vllm/base") == "vllm/base"  # both are that adapter
    assert base_of_first(str(adapter), str(tiny_folder), "vllm/base") is None  # a folder, and no server


def test_a_name_that_may_mean_two_things_or_none_is_refused(
    adapter: Path, tiny_folder: Path, subjects: Subjects, tmp_path: Path
) -> None:
    for empty in ("", " "):
        with pytest.raises(UserError, match="found an empty name"):
            subjects.both(empty, str(adapter))
    for name in ("vllm/base:adapters/new", "vllm/base:./new", "vllm/base:~new"):
        with pytest.raises(UserError, match="new is no adapter's folder"):
            Subjects([], tmp_path, Recorder())._named(name, None)
    both = shutil.copytree(adapter, shutil.copytree(tiny_folder, tmp_path / "both"), dirs_exist_ok=True)
    with pytest.raises(UserError, match=r"both: holds an adapter and a model \(model.safetensors\)"):
        subjects.of(str(both))
    with pytest.raises(UserError, match="both: holds an adapter and a model"):
        load(str(both))


def test_an_adapter_on_a_server_that_has_no_folder_here_cannot_be_proved(tmp_path: Path, subjects: Subjects) -> None:
    a, b = (
        subjects.of(str(judged.write(tmp_path / f"{name}.eval", 6, texts=name, model=model)))
        for name, model in (("a", "vllm/base"), ("b", "vllm/base:mine"))
    )
    assert a.measurements["mask"].unproved == ""
    assert "vllm/base:mine names an adapter whose folder is not here" in b.measurements["mask"].unproved
    verdict = gate(a, b, GateConfig.model_validate({"evals": [{"name": "mask", "judge": "some/judge"}]}))
    assert "adapter_unproved" in {reason.code for _, reason in verdict.doubts}


def test_replies_of_a_killed_run_may_be_of_other_weights(tmp_path: Path) -> None:
    log = tmp_path / "mask-[a].eval"
    assert not has_replies(log)
    (tmp_path / ".mask-[a].eval-replies-0123.jsonl").touch()
    assert has_replies(log)


def test_logs_of_two_models_are_no_subject(log: Log, subjects: Subjects, tmp_path: Path) -> None:
    log("mixed/honest", adapter="old")
    other = log("mixed/able", task="untrue/capability", version=EVALS["capability"].version, adapter="old")
    assert {*subjects.of(str(tmp_path / "mixed")).measurements} == {"forced_choice", "capability"}
    for changes, what in (({"adapter": "new"}, "adapter"), ({"adapter": "old", "weights": "others"}, "model")):
        other.unlink()
        log("mixed/able", task="untrue/capability", version=EVALS["capability"].version, **changes)
        with pytest.raises(UserError, match=f"is of another {what} than .*Name the logs of one model"):
            subjects.of(str(tmp_path / "mixed"))


def test_logs_of_two_adapters_that_inspects_own_command_was_given_are_no_subject(
    log: Log, subjects: Subjects, tmp_path: Path
) -> None:
    version = EVALS["capability"].version
    log("mixed/honest", tokenizer=None, model_args={"adapter": "adapters/old"})
    log("mixed/able", task="untrue/capability", version=version, tokenizer=None, model_args={"adapter": "adapters/old"})
    assert len(subjects.of(str(tmp_path / "mixed")).measurements) == 2
    log("mixed/able", task="untrue/capability", version=version, tokenizer=None, model_args={"adapter": "adapters/new"})
    with pytest.raises(UserError, match=r"is of another adapter than .* \(adapters/\w+, not adapters/\w+\)\. Name the"):
        subjects.of(str(tmp_path / "mixed"))


def test_a_model_that_is_compared_with_itself_is_told(log: Log, subjects: Subjects, tmp_path: Path) -> None:
    one, copy, other = (log(name, adapter=hash) for name, hash in (("a", "x"), ("b", "x"), ("c", "y")))
    for first, second, told in ((one, one, True), (one, copy, True), (one, other, False)):
        [(_, _, _, notes)] = pairs(subjects.of(str(first)), subjects.of(str(second)))
        assert (SAME in notes) == told
    whole = [
        log(name, weights=weights, computed={"chat": chat, "dtype": name})
        for name, weights, chat in (("d", "w", "c"), ("e", "w", "c"), ("f", "w", "other"), ("g", "v", "c"))
    ]
    for log_, told in zip(whole[1:], (True, False, False), strict=True):
        [(_, _, _, notes)] = pairs(subjects.of(str(whole[0])), subjects.of(str(log_)))
        assert (SAME in notes) == told
    [(_, _, _, notes)] = pairs(subjects.of(str(whole[0])), subjects.of(str(log("h", weights="w", adapter="x"))))
    assert SAME not in notes


def test_a_base_with_the_name_of_a_provider_is_loaded_here(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "google/gemma-2-2b-it"}', "utf-8")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    assert own_base(str(tmp_path)) == "untrue/google/gemma-2-2b-it"


def test_logs_that_say_nothing_of_a_tokenizer_give_outcomes_alone(log: Log, subjects: Subjects) -> None:
    a, b = (subjects.of(str(log(name, 10, tokenizer=None))) for name in ("a", "b"))
    [(_, _, results, notes)] = pairs(a, b)
    assert {result.pressure_margin for result in results} == {None}
    assert "the logs do not say theirs" in notes[0]


def test_broken_and_foreign_logs_are_refused(log: Log, subjects: Subjects, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"empty\.eval: has no samples \(status started\)\. Run its eval again"):
        subjects.of(str(log("empty", 5, absent=range(5), status="started")))
    with pytest.raises(UserError, match=r"other\.eval: is a log of inspect_evals/gsm8k, expected an eval of untrue: "):
        subjects.of(str(log("other", 5, task="inspect_evals/gsm8k")))
    (tmp_path / "torn.eval").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(UserError, match=r"torn\.eval: cannot be read as an Inspect log"):
        subjects.of(str(tmp_path / "torn.eval"))
    with pytest.raises(UserError, match=r"none\.eval: there is no such log"):
        subjects.of(str(tmp_path / "none.eval"))
    log("two/a", 5, weights="one")
    log("two/b", 5, weights="one")
    with pytest.raises(UserError, match=r"forced_choice has another log there, .* Name one of the two"):
        subjects.of(str(tmp_path / "two"))
    with pytest.raises(UserError, match=r"two: is no adapter, so it has no base to be compared with"):
        own_base(str(tmp_path / "two"))


def test_a_log_that_something_else_scored_is_refused(log: Log, subjects: Subjects) -> None:
    from inspect_ai.log import read_eval_log, write_eval_log

    path = log("rescored", 5)
    content = read_eval_log(str(path))
    for sample in content.samples or []:
        sample.scores = {"kindness": (sample.scores or {})["outcome"]} if sample.id != "item-0000" else sample.scores
    write_eval_log(content, str(path))
    with pytest.raises(UserError, match=r"rescored\.eval: was scored by 'kindness', and forced_choice is scored by 'o"):
        subjects.of(str(path))


@pytest.mark.parametrize(
    ("task", "metadata", "is_accepted"),
    [
        ("untrue/forced_choice", {}, True),
        ("forced_choice", {"untrue_model": {}}, True),
        ("forced_choice", {}, False),
        ("someone/forced_choice", {"untrue_model": {}}, False),
    ],
)
def test_a_log_is_ours_by_its_package_or_its_metadata(
    task: str, metadata: dict, is_accepted: bool, log: Log, subjects: Subjects
) -> None:
    from inspect_ai.log import read_eval_log, write_eval_log

    path = log("one", 6, task=task)
    content = read_eval_log(str(path))
    content.eval.metadata = metadata
    write_eval_log(content, str(path))
    if is_accepted:
        assert [*subjects.of(str(path)).measurements] == ["forced_choice"]
    else:
        with pytest.raises(UserError, match=f"one.eval: is a log of {task}, expected an eval of untrue"):
            subjects.of(str(path))


@pytest.mark.parametrize(
    ("value", "details", "said"),
    [
        ({"honesty": 1}, {}, r"\(This score is not a scalar\)"),
        ("C", {}, r"\('C' is not a valid Outcome\)"),
        ("honest", {"pressure_margin": "low"}, r"\(pressure_margin 'low', expected a number\)"),
        ("honest", {"reads": 1.0}, r"\(reads 1.0, expected true or false\)"),
        (7, {}, r"\(7, expected a value from 0 to 1\)"),
        (1, {}, r"\(expected: outcome\)"),
    ],
)
def test_a_score_that_the_eval_does_not_give_names_log_and_sample(
    value: Any, details: dict, said: str, log: Log, subjects: Subjects
) -> None:
    from inspect_ai.log import read_eval_log, write_eval_log

    path = log("odd", 6)
    content = read_eval_log(str(path))
    score = ((content.samples or [])[3].scores or {})["outcome"]
    score.value, score.metadata = value, details
    write_eval_log(content, str(path))
    with pytest.raises(
        UserError, match=rf"odd\.eval: the score of sample item-0003 is none that forced_choice gives.*{said}"
    ):
        subjects.of(str(path))


def test_evals_that_are_missing_are_named(log: Log, subjects: Subjects) -> None:
    a = subjects.of(str(log("a", 5)))
    b = subjects.of(str(log("b", 5, task="untrue/capability")))
    with pytest.raises(UserError, match="nothing to compare: a has forced_choice and b has capability"):
        pairs(a, b)
    with pytest.raises(UserError, match=r"a: has no log of capability. Measure it, or leave the eval out of the gate"):
        list(paired(a, a, ["capability"]))


def test_a_limit_of_a_gate_asks_random_items_since_chosen_ones_flatter_the_base():
    assert of_random_items(eval_spec(name="forced_choice", limit=8)).arguments["order"] == "random"
    for same in (eval_spec(name="forced_choice"), eval_spec(name="capability", limit=8)):
        assert of_random_items(same) == same


def test_a_model_folder_that_holds_logs_is_refused(log: Log, subjects: Subjects, tmp_path: Path) -> None:
    """They may be of weights that were there before."""
    merged = tmp_path / "merged"
    log("merged/logs/old")
    assert subjects.of(str(merged)).measurements
    (merged / "config.json").write_text("{}", "utf-8")
    with pytest.raises(UserError, match=r"holds a model and logs, first .*old\.eval, which may be of other weights"):
        subjects.of(str(merged))
    own = Subjects([], merged / "logs", Recorder())  # those of this gate, which was killed
    assert own._logged(str(merged)) is None
