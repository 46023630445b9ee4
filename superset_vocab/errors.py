"""The one exception for mistakes in what a user gave us.

Everything that is wrong with a user's file, name or option is raised as `InputError` with a message
of one paragraph that names the file, says what was found there and what to do about it. The command
line prints that message without a traceback and exits with 2. Programming errors stay ordinary
Python exceptions, so that they are never mistaken for bad input.
"""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: names the thing that is wrong, what was found and the remedy."""


def all_problems(what: str, problems: list[str]) -> InputError:
    """One `InputError` that lists every problem found, in a stable order.

    Args:
        what: What was being read, e.g. the path of a keypoint map.
        problems: One sentence each; must not be empty.
    """
    if not problems:
        raise AssertionError("all_problems() needs at least one problem")
    if len(problems) == 1:
        return InputError(f"{what}: {problems[0]}")
    lines = "".join(f"\n  - {problem}" for problem in problems)
    return InputError(f"{what}: {len(problems)} problems:{lines}")
