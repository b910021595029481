"""Settings of any model come from YAML and key=value texts; errors name file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from untrue.errors import UserError
from untrue.settings import Listed, assignments, load, validate


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Rain(Strict):
    by: Literal["rain"]
    inches: int = 1


class Snow(Strict):
    by: Literal["snow"]
    flakes: int = 1


class Day(Strict):
    name: str
    weather: Annotated[Rain | Snow, Field(discriminator="by")] = Rain(by="rain")
    hours: dict[str, Rain] = {}
    notes: tuple[Snow, ...] = ()
    words: Annotated[tuple[str, ...], Listed] = ()


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    path = tmp_path / "day.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(UserError) as caught:
        load(Day, path, overrides, "good.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\nweather:\n  by: snow\n  flake: 2\n", ", line 4: weather.flake: unknown key. Did you mean 'flakes'?"),
        ("name: a\nweather: {by: rain, flakes: 2}\n", ", line 2: weather.flakes: unknown key. Known keys: by, inches."),
        (
            "name: a\nhours:\n  noon: {by: rain, inch: 2}\n",
            ", line 3: hours.noon.inch: unknown key. Did you mean 'inches'?",
        ),
        (
            "name: a\nnotes:\n- by: snow\n- {by: snow, x: 2}\n",
            ", line 4: notes.1.x: unknown key. Known keys: by, flakes.",
        ),
        ("name: a\nweather: {by: rain, inches: b}\n", ", line 2: weather.inches: input should be a valid integer"),
        ("nam: a\n", ", line 1: nam: unknown key. Did you mean 'name'?"),
        ("{}", ": name: is missing. Add it."),
        ("- a\n", ": expected a mapping of keys, found list. See good.yaml."),
        ("name: a\nname: b\n", ", line 2: broken YAML (the key 'name' occurs twice)."),
        ("name: a\n? [b]\n: c\n", ", line 2: broken YAML ("),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path: Path, text: str, words: str):
    assert refusal(tmp_path, text).startswith(words)


def test_a_repeated_key_beside_a_secret_does_not_show_the_line(tmp_path: Path):
    assert refusal(tmp_path, "name: a\nname: {api_key: abc, name: a, name: b}\n") == ", line 2: broken YAML."


def test_assignments_nest_and_their_values_are_yaml():
    assert assignments(["a.b=[1, x]", "a.c={d: 2}", "e=", "a.c.f=yes"]) == {
        "a": {"b": [1, "x"], "c": {"d": 2, "f": True}},
        "e": None,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b", ("a", "b")),
        ("a, b", ("a", "b")),
        ("a", ("a",)),
        ("a,", ("a",)),
        ("[a,b]", ("a", "b")),
        ("'[a'", ("[a",)),
        ("[]", ()),
    ],
)
def test_a_list_needs_no_brackets(tmp_path: Path, text: str, words: tuple[str, ...]):
    assert validate(Day, assignments(["name=x", f"words={text}"])).words == words
    (tmp_path / "day.yaml").write_text(f"name: x\nwords: {text}\n", "utf-8")
    assert load(Day, tmp_path / "day.yaml").words == words


@pytest.mark.parametrize("text", ["a", "=1", "a=[", "a={b: 1, b: 2}"])
def test_what_is_no_assignment_is_refused(text: str):
    with pytest.raises(UserError, match=r"^override "):
        assignments([text])


def test_an_override_that_is_wrong_is_named_and_not_the_file(tmp_path: Path):
    message = refusal(tmp_path, "name: a\n", "weather={by: snow}", "weather.flakes=b")
    assert message.startswith("override: weather.flakes: input should be a valid integer")


def test_values_are_validated_without_a_file():
    assert validate(Day, {"name": "a"}).weather == Rain(by="rain")
    with pytest.raises(UserError, match=r"^--option: name: is missing\. Add it\.$"):
        validate(Day, {}, "--option")
