"""The two kinds of failure that a person meets, each one line of text and an exit code."""

import re

from untrue.secrets import redact

_MARKUP = re.compile(r"\[/?(?:bold|blue|red)\]")  # of Inspect's own errors; other brackets belong to the text

_LONGEST = 500


class UntrueError(Exception):
    """A failure with a message for people: what was found, what was expected, what to do."""

    exit_code = 4  # never 1, which is a verdict


class UserError(UntrueError):
    """Something that the user can mend: a file, a key, a name."""

    exit_code = 2


class MachineError(UntrueError):
    """Something that the machine lacks: disk space, memory, network, permission."""

    exit_code = 4


def one_line(error: object) -> str:
    """What a library says went wrong, as one line of plain text without a full stop at its end, and without secrets.

    Args:
        error: Its error, or the text of one: paragraphs, perhaps with rich's markup.
    """
    text = _MARKUP.sub("", redact(str(error))).strip().removeprefix("ERROR: ")
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)]
    joined = " ".join(part if part[-1] in ".:;,!?" else f"{part}." for part in paragraphs if part)
    if len(joined) > _LONGEST:
        return f"{joined[:_LONGEST].rstrip()} …"
    return joined.rstrip(".") or type(error).__name__


def cause(error: Exception) -> BaseException:
    """What a provider raised, under what Inspect wraps around it: a retry that gave up, or a copy of the request."""
    from tenacity import RetryError

    if isinstance(error, RetryError):
        return error.last_attempt.exception() or error
    return (error.__cause__ if isinstance(error, RuntimeError) else None) or error
