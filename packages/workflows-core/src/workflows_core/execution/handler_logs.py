"""The logger of a handler: what it and its errors say, without the secrets that it was given."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any

from workflows_core.actions.call import scrub
from workflows_core.actions.json_text import text_of

_TAKEN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""Fields of every record, which nobody may give."""


class HandlerLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs for one call of an action.

    Args:
        logger: Where its lines go.
        about: Fields of every line.
        secrets: The values that no line may have, asked for at each.
    """

    def __init__(
        self, logger: logging.Logger, about: Mapping[str, object], secrets: Callable[[], Collection[str]]
    ) -> None:
        super().__init__(logger, dict(about))
        self._about = dict(about)
        self._secrets = secrets

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """One line; a traceback is in its field `exception`."""
        if not self.isEnabledFor(level):
            return
        secrets = self._secrets()
        given = kwargs.pop("extra", None) or {}
        fields = {name: value for name, value in given.items() if name not in _TAKEN} | self._about
        if error := _error_of(kwargs.pop("exc_info", None)):
            fields["exception"] = "".join(traceback.format_exception(error)).rstrip()
        # Put together here: a secret may be in an argument, or in both.
        try:
            text = logging.LogRecord("", level, "", 0, msg, args, None).getMessage()
        except Exception:  # A line that cannot be written fails no action.
            text = f"{text_of(msg)} {text_of(args)}"
        self.logger.log(level, "%s", scrub(text, secrets), extra=scrub(_plain_fields(fields), secrets), **kwargs)


def _plain_fields(fields: Mapping[str, Any]) -> Any:
    """Fields as JSON: what is none is a text, as it will be written, so that a secret in it is found."""
    try:
        return json.loads(json.dumps(fields, default=text_of))
    except Exception:
        return {name: text_of(value) for name, value in fields.items()}


def _error_of(given: Any) -> BaseException | None:
    """The error that `exc_info` means, in the forms that the standard library takes."""
    if isinstance(given, BaseException):
        return given
    found = given if isinstance(given, tuple) else sys.exc_info() if given else (None, None, None)
    error: BaseException | None = found[1]
    return error
