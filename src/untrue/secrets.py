"""Secrets: which argument is one, that its value comes from the environment alone, and texts without it."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any
from urllib.parse import quote, unquote

import yaml

LEAST = 8
"""Characters of a value below which texts are not searched for it: `none` is no secret, and a word elsewhere."""

_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_USER_IN_ADDRESS = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]*://|^(?=[^/\\?#\s:@]+:[^/\\?#\s@]+@(?!sha256:)))([^/?#\s]+)@", re.IGNORECASE
)
_QUERY = re.compile(r"[?&;#]([\w.%-]+)=([^&;#\s'\"]+)")
_NAMED = re.compile(
    r"(?:^|[\s?&;#,{'\"])([\w.%-]+)=(?=\S)"  # password=…
    r"|(?:^|[\n,{])\s*['\"]?([\w-]+)['\"]?:(?=\s*\S)"  # Authorization: …
    r"|(?:^|\s)-+([\w-]+)(?=\s+[^\s-])"  # --api-key …
)
_SCHEME = re.compile(r"(?:[\w-]+:\s*)?(?:bearer|basic|token|apikey|key)\s+(\S+)", re.IGNORECASE)
_SHAPE = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:(?<!-)sk-|xox[a-z]-|AIza|github_pat_)[\w-]{16,}|(?:hf|gh[opsu])_[A-Za-z0-9]{16,}"
    r"|AKIA[A-Z0-9]{16}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)"
)

_STRONG = {"apikey", "authorization", "bearer", "credential", "credentials", "jwt", "passphrase", "passwd", "password"}
_STRONG |= {"passwords", "secret", "secrets", "cookie", "cookies"}
_LAST = {"auth", "key", "pat", "pwd", "sig", "signature", "token"}
_PAIRS = {(first, last) for first in ("access", "api", "auth", "private", "secret") for last in ("key", "token")}
_PAIRS |= {("session", "id"), ("connection", "string")}
_IN_QUERY = {"code", "t"}  # secrets in the query of an address, and nowhere else
_HOLDERS = re.compile(r"(?:^|_)(?:headers?|hdrs?|query|query_param(?:eter)?s)$")  # every value below is a secret
_ENVIRONMENTS = re.compile(r"(?:^|_)(?:envs?|environ|env_vars?)$")  # likewise, but `api_key_env: NAME` is none
_ABOUT = {"count", "dir", "env", "file", "folder", "length", "limit", "mode", "name", "path", "policy", "provider"}
_ABOUT |= {"type", "var"}  # the last word of what only speaks of a secret, or says where it lies
_OF_TEXT = {"audio", "bos", "cls", "end", "eos", "first", "image", "last", "mask", "max", "min", "next", "pad", "sep"}
_OF_TEXT |= {"special", "start", "stop", "think", "thinking", "unk", "video"}  # tokens of a model
_OF_DATA = {"cache", "column", "content", "group", "label", "message", "messages", "partition", "primary", "sort"}
_OF_DATA |= {"text"}  # keys of a table

_resolved: dict[str, str] = {}


@cache
def is_secret(name: str) -> bool:
    """Whether a key, or the name of a variable, says that its value is a secret: `api_key`, not `max_tokens`."""
    words = [word.lower() for word in _WORD.findall(name)]
    while words and words[-1].isdigit():
        words.pop()
    if not words or words[-1] in _ABOUT:
        return False
    singular = [word.removesuffix("s") if word in ("keys", "tokens") else word for word in words]
    if _STRONG.intersection(words) or _PAIRS.intersection(pairwise(singular)):
        return True
    before = words[-2] if len(words) > 1 else ""
    return words[-1] in _LAST and not ((words[-1] == "token" and before in _OF_TEXT) or before in _OF_DATA)


def shown(value: Any, *keys: Any) -> str | None:
    """How an error may show a wrong value; None where it may hold a secret: it, or a key that it is under, names one.

    Args:
        value: What was found.
        *keys: The keys that it is under.
    """
    text = repr(value)
    words = re.findall(r"[\w-]+", " ".join([text, *map(str, keys)]))
    named = any(_is_secret_text(word) or _holds_secrets(word, ()) for word in words)
    return None if named or _has_secret(text) else text


def checked(model: str) -> str:
    """A model's name, or `{model: NAME, model_args: {…}, …}`, as it is given.

    Raises:
        ValueError: A secret is written out in it. The message does not repeat it.
    """
    if model.lstrip().startswith("{"):
        try:
            settings = yaml.safe_load(model)
        except (yaml.YAMLError, ValueError):
            raise ValueError("is no YAML mapping. Write {model: NAME, model_args: {base_url: ADDRESS}}") from None
        if isinstance(settings, Mapping):
            if not isinstance(settings.get("model_args", {}), Mapping):
                raise ValueError("model_args is no mapping. Write {model: NAME, model_args: {base_url: ADDRESS}}")
            refuse_literals({"model_args": settings.get("model_args")})
            refuse_literals({key: value for key, value in settings.items() if key != "model_args"}, variables=False)
    if _SHAPE.search(model) or (not model.lstrip().startswith("{") and _has_secret(model)):
        raise ValueError(
            "has a password or key in it, which would be stored and shown. Take it out; what a model needs to know"
            " goes into {model: NAME, model_args: {…}}, with $NAME of an environment variable as its value"
        )
    return model


def refuse_literals(arguments: Mapping[str, Any], variables: bool = True) -> None:
    """Refuse a secret whose value is written out.

    Args:
        arguments: Arguments by name, nested at will.
        variables: Whether `$NAME` stands for an environment variable here.

    Raises:
        ValueError: There is one. The message does not repeat it.
    """

    def check(path: str, value: Any, secret: bool) -> None:
        if value is None or isinstance(value, bool) or value == "":
            return
        if variables and isinstance(value, str) and _VARIABLE.fullmatch(value):
            return
        text = value if isinstance(value, str) else ""
        secret = secret or bool(text and _is_secret_text(path.rpartition(".")[2]))
        if not variables and (secret or _has_secret(text)):
            raise ValueError(f"{path} would be stored and shown. Move it into model_args, with $NAME as its value")
        if _in_address(text) and not secret:
            raise ValueError(
                f"{path} has a password or key in the address. Put the whole address into an environment variable"
                " and write $NAME in its place (on a command line in single quotes)"
            )
        if secret or _has_secret(text):
            raise ValueError(
                f"{path} is written out, and would be stored and shown. Put the whole value into an environment"
                " variable and write $NAME in its place (on a command line in single quotes)"
            )

    _each(arguments, check)


def from_environment(arguments: Mapping[str, Any], only_plain: bool = False) -> dict[str, Any]:
    """Arguments with the values of the variables that they name; what they named is a secret from here on.

    Args:
        arguments: Arguments by name, nested at will.
        only_plain: Leave those of secrets as they are.

    Raises:
        ValueError: A variable is not set.
    """

    def value_of(path: str, value: Any, secret: bool) -> Any:
        variable = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
        if not variable or (secret and only_plain):
            return value
        if not os.environ.get(variable[1]):
            raise ValueError(f"{path}: the environment variable {variable[1]} is not set. Set it")
        _resolved[variable[1]] = os.environ[variable[1]]
        return os.environ[variable[1]]

    return _each(arguments, value_of)


def without_secrets(address: str) -> str:
    """An address without what is secret in it."""
    for value in _in_address(address):
        address = address.replace(value, "")
    return address


def known() -> list[tuple[str, str]]:
    """Text that must not appear, and the name of the variable that has it; long ones come first."""
    named = {name: value for name, value in os.environ.items() if is_secret(name)}
    # One such as GOOGLE_APPLICATION_CREDENTIALS says where a secret lies. (`Path.exists` raises for a long value.)
    named = {name: value for name, value in named.items() if not os.path.exists(value)}  # noqa: PTH110
    values = [(value.strip(), name) for name, value in [*_resolved.items(), *named.items()]]
    values += [(scheme[1], name) for value, name in values if (scheme := _SCHEME.fullmatch(value))]
    addresses = [*_resolved.items(), *os.environ.items()]
    values += [(inner, name) for name, value in addresses if "://" in value for inner in _in_address(value)]
    forms = dict[str, str]()
    for value, name in values:
        for form in _forms(value) if len(value) >= LEAST else ():
            forms.setdefault(form, name)
    return sorted(forms.items(), key=lambda form: -len(form[0]))


def redact(text: str, hidden: list[tuple[str, str]] | None = None) -> str:
    """A text in which every secret that this process knows is the name of its variable, in brackets.

    Args:
        text: Of another library; not a reply of a model, which must stay as it is.
        hidden: What `known` says, where many texts are redacted.
    """
    for value, name in known() if hidden is None else hidden:
        text = text.replace(value, f"[{name}]")
    return text


@contextmanager
def redacted_logging() -> Iterator[None]:
    """Keep secrets out of what libraries log: on the terminal, in Inspect's logs and in its trace files."""
    make = logging.Logger.makeRecord  # not the factory of records: it does not see their `extra`

    def clean(self: logging.Logger, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(self, *args, **kwargs)
        hidden = known()
        if record.exc_info and record.exc_info[0]:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info), hidden)
            record.exc_info = None
        try:
            message = redact(record.getMessage(), hidden)
        except Exception:  # a wrong format: the handler says so
            return record
        if message != record.getMessage():
            record.msg, record.args = message, ()
        for name, value in vars(record).items():
            if isinstance(value, str):
                vars(record)[name] = redact(value, hidden)
        return record

    logging.Logger.makeRecord = clean
    try:
        yield
    finally:
        logging.Logger.makeRecord = make


def _each(value: Any, change: Callable[[str, Any, bool], Any], path: str = "", secret: bool = False) -> Any:
    """The same structure with each value changed, told its path and whether its name says that it is a secret."""
    if isinstance(value, Mapping):
        changed = {}
        inside = is_secret(path.rpartition(".")[2])  # then a key may be the secret itself
        if inside and value and all(inner is None for inner in value.values()):  # what YAML makes of `{KEY}`
            return _each(set(value), change, path, secret)
        for key, inner in value.items():
            name = "…" if inside or _has_secret(str(key)) else str(key)
            below = secret or is_secret(str(key)) or _holds_secrets(str(key), inner)
            changed[key] = _each(inner, change, f"{path}.{name}" if path else name, below)
        return changed
    if isinstance(value, list | tuple | set):
        items = list(value)
        after = [False, *(isinstance(item, str) and item.startswith("-") and is_secret(item) for item in items)]
        return [
            _each(item, change, path, secret or (option and not str(item).startswith("-")))
            for item, option in zip(items, after, strict=False)
        ]
    return change(path, value, secret)


@cache
def _is_secret_text(name: str) -> bool:
    """Whether a text of this name is a secret: `tokens` may be how many there are, or what they are."""
    return is_secret(name) or is_secret(name.removesuffix("s"))


def _holds_secrets(name: str, value: Any) -> bool:
    """Whether every value below a name counts as a secret."""
    words = "_".join(_WORD.findall(name)).lower()
    return bool(_HOLDERS.search(words) or (_ENVIRONMENTS.search(words) and not isinstance(value, str)))


def _has_secret(text: str) -> bool:
    """Whether a secret is written out in a text: in an address, after its name, or by its shape."""
    names = [unquote(name) for match in _NAMED.findall(text) for name in match]
    named = any(is_secret(name) and not name.startswith("columns.") for name in names)
    return bool(named or _in_address(text) or _SHAPE.search(text) or _SCHEME.fullmatch(text))


def _in_address(text: str) -> list[str]:
    """User, password and keys in the addresses of a text. What a source says of its columns is no key."""
    users = _USER_IN_ADDRESS.findall(text)
    passwords = [password for user in users if (password := user.partition(":")[2])]
    queries = [(unquote(name), value) for name, value in _QUERY.findall(text) if not name.startswith("columns.")]
    return [*users, *passwords, *(value for name, value in queries if is_secret(name) or name.lower() in _IN_QUERY)]


def _forms(value: str) -> set[str]:
    """A value as it is, and as JSON, Python and addresses write it."""
    escaped = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    return {value, quote(value, safe=""), quote(value), *escaped}
