"""The two kinds of failure that a person meets, each one line of text and an exit code."""

from __future__ import annotations


class UntrueError(Exception):
    """A failure with a message for people: what was found, what was expected, what to do."""

    exit_code = 1


class UserError(UntrueError):
    """Something that the user can mend: a file, a key, a name."""

    exit_code = 2


class MachineError(UntrueError):
    """Something that the machine lacks: disk space, memory, network, permission."""

    exit_code = 4
