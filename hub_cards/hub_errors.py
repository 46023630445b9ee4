"""What went wrong while writing to the Hub, in one line that says what to do. Never a token in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from superset_vocab import InputError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN, with a token that may write"
_TRY_LATER = (408, 429, 500, 502, 503, 504)


class ConflictError(InputError):
    """Somebody else wrote to the repository meanwhile; nothing of theirs was overwritten."""


@contextmanager
def explained(repository: str) -> Iterator[None]:
    """Turn what the client raises in the block into an `InputError`.

    Raises:
        ConflictError: If the repository has changed since it was looked at.
        InputError: For every other refusal, and where the connection broke off.
    """
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage] - the base of its HTTP library's errors
        OfflineModeIsEnabled,
    )

    try:
        yield
    except InputError:
        raise
    except HfHubHTTPError as error:
        raise _refusal(repository, error) from error
    except OfflineModeIsEnabled as error:
        raise InputError(f"{repository}: HF_HUB_OFFLINE is set; unset it to publish") from error
    except ValueError as error:  # the client's own check of the card, of git-lfs's answers
        raise InputError(f"{repository}: the Hub does not take this: {_one_line(error)}") from error
    except (HTTPError, OSError, RuntimeError) as error:
        inner = _root(error)
        if isinstance(inner, HfHubHTTPError):
            raise _refusal(repository, inner) from error
        if "xet-write-token" in str(inner):
            raise InputError(
                f"{repository}: {_hub()} does not take files by Xet, the client's own way of sending them; "
                f"set HF_HUB_DISABLE_XET=1 and run the same command again ({_one_line(inner)})"
            ) from error
        raise InputError(
            f"{repository}: the connection to {_hub()} broke off ({_one_line(inner)}); no version was "
            "published. Run the same command again: files that have arrived are not sent again"
        ) from error


def require_token(repository: str) -> None:
    """Refuse to begin without a token: nobody may write to the Hub without.

    Raises:
        InputError: If there is none.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise InputError(f"{repository}: nobody is logged in to {_hub()}; {LOG_IN}")


def _refusal(repository: str, error: HfHubHTTPError) -> InputError:
    """What the Hub answered."""
    status = error.response.status_code
    said = _one_line(error.server_message or error.response.headers.get("X-Error-Message") or "")
    because = f" ({said})" if said else ""
    if status == 412:
        return ConflictError(
            f"{repository}: somebody else published to it meanwhile{because}; nothing was overwritten. Look "
            "at their version, then run the same command again"
        )
    if status == 401:
        return InputError(f"{repository}: {_hub()} does not accept your token{because}; {LOG_IN}")
    if status == 402 or "storage limit" in said.lower() or "quota" in said.lower():
        return InputError(
            f"{repository}: there is no room left in this account on {_hub()}{because}; nothing was "
            "published. Delete something there or extend it, then run the same command again"
        )
    if status == 403:
        return InputError(
            f"{repository}: your token may not write there{because}; check the owner's name, or {LOG_IN}"
        )
    if status == 404:
        return InputError(f"{repository}: {_hub()} has no such repository, or you may not see it; {LOG_IN}")
    if status == 409:
        return ConflictError(f"{repository}: is taken already{because}; run the same command again")
    remedy = "try again later" if status in _TRY_LATER else "nothing was published"
    return InputError(f"{repository}: {_hub()} answers with status {status}{because}; {remedy}")


def _root(error: BaseException) -> BaseException:
    """What the client's own errors are from."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _one_line(error: object) -> str:
    """A message in one line, without the token should somebody have put it there."""
    from huggingface_hub import get_token

    words = " ".join(str(error).split()) or type(error).__name__
    for secret in filter(None, (get_token(), os.environ.get("HF_TOKEN"))):
        words = words.replace(secret, "***")
    return words[:300]


def _hub() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
