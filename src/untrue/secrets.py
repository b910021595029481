"""Secrets: a key's name says that its value is one. Values come from the environment, and nothing shows them."""

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import yaml

SHORTEST = 8  # characters; texts are not searched for shorter values, such as `none`

_NAME = re.compile(
    r"(?:^|[_.-])(?:api_?keys?|(?:access|auth|secret|private|session|subscription)_?(?:keys?|tokens?)|authorization"
    r"|bearer|cookie|credentials?|jwt|pass(?:word|wd|phrase)s?|pat|secrets?|sig(?:nature)?|auth|token|key|headers)$"
)
_OF_TEXT = re.compile(r"(?:bos|cls|end|eos|mask|max|pad|sep|start|stop|think|unk|cache|primary|sort)_(?:token|key)$")
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")
_USER_IN_ADDRESS = re.compile(r"://([^/?#\s@]+)@")
_QUERY = re.compile(r"[?&;#]([\w.%-]+)=([^&;#\s'\"]+)")

_resolved: dict[str, str] = {}


def is_secret(name: str) -> bool:
    """Whether a key, or the name of a variable, says that its value is a secret: `api_key`, not `max_tokens`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
    return bool(_NAME.search(words) and not _OF_TEXT.search(words))


def shown(value: Any, *keys: Any) -> str | None:
    """How an error may show a wrong value; None if it, or a key that it is under, may name a secret."""
    text = repr(value)
    words = re.findall(r"[\w-]+", " ".join([text, *map(str, keys)]))
    return None if any(map(is_secret, words)) or _in_address(text) else text


def checked(model: str) -> str:
    """A model's name, or `{model: NAME, model_args: {…}, …}`, as it is given.

    Raises:
        ValueError: A secret is written out in it. The message does not repeat it.
    """
    if not model.lstrip().startswith("{"):
        if _in_address(model):
            raise ValueError("has a password or key in the address. Write {model: NAME, model_args: {base_url: $NAME}}")
        return model
    try:
        settings = yaml.safe_load(model)
    except (yaml.YAMLError, ValueError):
        raise ValueError("is no YAML mapping. Write {model: NAME, model_args: {base_url: ADDRESS}}") from None
    refuse_literals(settings)
    return model


def refuse_literals(arguments: Any) -> None:
    """Refuse a secret whose value is written out, in arguments nested at will.

    Raises:
        ValueError: There is one. The message does not repeat it.
    """
    for path, value, secret in _leaves(arguments):
        if isinstance(value, str) and value and not _VARIABLE.fullmatch(value) and (secret or _in_address(value)):
            raise ValueError(
                f"{path} is a secret, and would be stored and shown. Put the whole value into an environment variable,"
                " and write $NAME in its place, in model_args (on a command line in single quotes)"
            )


def from_environment(arguments: Any, only_plain: bool = False, path: str = "") -> Any:
    """Arguments with the values of the variables that they name; what they named is a secret from here on.

    Args:
        arguments: Arguments by name, nested at will.
        only_plain: Leave those of secrets as they are.
        path: The key that they are under.

    Raises:
        ValueError: A variable is not set.
    """
    if isinstance(arguments, Mapping):
        below = {key: f"{path}.{key}" if path else str(key) for key in arguments}
        return {key: from_environment(value, only_plain, below[key]) for key, value in arguments.items()}
    if isinstance(arguments, list | tuple):
        return [from_environment(value, only_plain, path) for value in arguments]
    variable = _VARIABLE.fullmatch(arguments) if isinstance(arguments, str) else None
    if not variable or (only_plain and any(map(is_secret, path.split(".")))):
        return arguments
    if not os.environ.get(variable[1]):
        raise ValueError(f"{path}: the environment variable {variable[1]} is not set. Set it")
    _resolved[variable[1]] = os.environ[variable[1]]
    return os.environ[variable[1]]


def without_secrets(address: str) -> str:
    """An address without what is secret in it."""
    for value in _in_address(address):
        address = address.replace(value, "")
    return address


def known() -> list[tuple[str, str]]:
    """Texts that must not appear, in all their forms, with the names of their variables; long ones come first."""
    named = {**_resolved, **{name: value for name, value in os.environ.items() if is_secret(name)}}
    # GOOGLE_APPLICATION_CREDENTIALS says in which file a secret lies. (`Path.exists` raises for a long value.)
    values = [(value.strip(), name) for name, value in named.items() if not os.path.exists(value)]  # noqa: PTH110
    values += [(value.rpartition(" ")[2], name) for value, name in values]  # of `Bearer KEY`
    addresses = (os.environ | _resolved).items()
    values += [(inner, name) for name, value in addresses if "://" in value for inner in _in_address(value)]
    forms = dict[str, str]()
    for value, name in values:
        if len(value) >= SHORTEST:
            for form in (value, quote(value, safe=""), json.dumps(value)[1:-1], repr(value)[1:-1]):
                forms.setdefault(form, name)
    return sorted(forms.items(), key=lambda form: -len(form[0]))


def redact(text: str, hidden: list[tuple[str, str]] | None = None) -> str:
    """A text in which every secret that this process knows is the name of its variable, in brackets.

    Args:
        text: Of another library; not a reply of a model, which must stay as it is.
        hidden: What `known` says, if many texts are redacted.
    """
    for value, name in known() if hidden is None else hidden:
        text = text.replace(value, f"[{name}]")
    return text


@contextmanager
def redacted_logging() -> Iterator[None]:
    """Keep secrets out of what libraries log: on the terminal, in Inspect's logs and in its trace files."""
    make = logging.Logger.makeRecord  # not the factory of records: it does not see their `extra`

    def clean(self: logging.Logger, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record, hidden = make(self, *args, **kwargs), known()
        if record.exc_info and record.exc_info[0]:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info), hidden)
            record.exc_info = None
        try:
            message = record.getMessage()
        except Exception:  # a wrong format: the handler says so
            return record
        if redact(message, hidden) != message:
            record.msg, record.args = redact(message, hidden), ()
        for name, value in vars(record).items():
            if isinstance(value, str):
                vars(record)[name] = redact(value, hidden)
        return record

    logging.Logger.makeRecord = clean
    try:
        yield
    finally:
        logging.Logger.makeRecord = make


def _leaves(value: Any, path: str = "", secret: bool = False) -> Iterator[tuple[str, Any, bool]]:
    """The path of each value in nested arguments, the value, and whether a key above it names a secret."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key), secret or is_secret(str(key)))
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from _leaves(inner, path, secret)
    else:
        yield path, value, secret


def _in_address(text: str) -> list[str]:
    """User, password and keys in the addresses of a text. What a source says of its columns is no key."""
    users = _USER_IN_ADDRESS.findall(text)
    passwords = [password for user in users if (password := user.partition(":")[2])]
    queries = [value for name, value in _QUERY.findall(text) if not name.startswith("columns.") and is_secret(name)]
    return [*users, *passwords, *queries]
