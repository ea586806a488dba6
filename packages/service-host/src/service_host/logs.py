"""Log set-up of a process: loguru is configured once, everything else (standard library, SDK core) flows into it."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from service_host.settings import LogSettings

if TYPE_CHECKING:
    from loguru import Message, Record

# Libraries whose INFO lines repeat what this package logs itself.
_QUIET = {"uvicorn": logging.WARNING, "uvicorn.error": logging.WARNING, "temporalio.worker": logging.WARNING}
# Libraries that write what they send and get, with secrets in it, however much is to be logged: addresses of requests,
# prompts, headers of answers.
_TALKATIVE = {"httpx": logging.WARNING, "httpcore": logging.INFO, "openai": logging.INFO}
_CORE_LOGGER = "temporalio.core"
_CORE_PERIOD_SECONDS = 30.0
_KIND_CHARACTERS = 30
_CONTEXT_ATTRIBUTES = ("temporal_workflow", "temporal_activity")
"""Long ones, left out of text for people."""

# What every record has; the rest was given by whoever logs (`extra`): run, step, tenant, Temporal's context.
# `temporal_log` is an object of the SDK core, whose text the message has already.
_NOT_CONTEXT = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "temporal_log"}


class _ToLoguru(logging.Handler):
    """Hands records of the standard library to loguru, with level, origin, Temporal context and what they are about."""

    def __init__(self, about: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__()
        self._about = about

    def emit(self, record: logging.LogRecord) -> None:
        level: str | int = record.levelname if record.levelname in _LEVELS else record.levelno
        given = {name: value for name, value in vars(record).items() if name not in _NOT_CONTEXT}
        context = {**self._about(), **given}

        def set_origin(target: Record) -> None:
            target["name"] = record.name

        logger.patch(set_origin).bind(**context).opt(exception=record.exc_info).log(level, "{}", _text_of(record))


def _text_of(record: logging.LogRecord) -> str:
    """The message; of a line whose arguments do not fit, what there is: no handler of the library raises there."""
    try:
        return record.getMessage()
    except Exception as error:
        where = f"{record.pathname}:{record.lineno}"
        return f"{record.msg} (a faulty log line at {where}: its arguments do not fit, {type(error).__name__})"


class _Throttle(logging.Filter):
    """Lets one line of a kind through per period: in an outage the SDK core logs each retry of each of its pollers.

    A kind is the logger and the beginning of the message; the next line let through says how many were held back.
    """

    def __init__(self, logger_name: str, seconds: float) -> None:
        super().__init__()
        self._logger_name = logger_name
        self._seconds = seconds
        self._kinds: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != self._logger_name or record.levelno >= logging.ERROR:
            return True
        text, now = _text_of(record), time.monotonic()
        kind = text[:_KIND_CHARACTERS]
        since, held_back = self._kinds.get(kind, (-self._seconds, 0))
        if now - since < self._seconds:
            self._kinds[kind] = (since, held_back + 1)
            return False
        self._kinds[kind] = (now, 0)
        if held_back:
            record.msg, record.args = f"{text} ({held_back} more like it were held back)", None
        return True


_LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})


def configure_logs(
    settings: LogSettings,
    *,
    service: str,
    identity: str,
    about: Callable[[], Mapping[str, Any]] = dict,
    stream: TextIO | None = None,
) -> None:
    """Send all logs of this process to standard error, once, as JSON lines or as text.

    Args:
        settings: Level and form.
        service: Name of the service, in every JSON line.
        identity: `<service>@<host>:<pid>`, in every JSON line.
        about: Fields for each line, asked where the line is logged: which run it is about, say.
        stream: Another stream than standard error, for tests.
    """
    target = sys.stderr if stream is None else stream
    as_json = not target.isatty() if settings.log_is_format_json is None else settings.log_is_format_json

    def write_json(message: Message) -> None:
        target.write(json_line(message.record, service=service, identity=identity) + "\n")
        target.flush()

    def write_text(message: Message) -> None:
        target.write(text_line(message.record) + "\n")
        target.flush()

    logger.remove()
    # catch=False would let a broken pipe end a loop; a lost log line must not.
    logger.add(write_json if as_json else write_text, level=settings.log_level, format="{message}", catch=True)
    handler = _ToLoguru(about)
    handler.addFilter(_Throttle(_CORE_LOGGER, _CORE_PERIOD_SECONDS))
    logging.basicConfig(handlers=[handler], level=getattr(logging, settings.log_level), force=True)
    logging.captureWarnings(True)
    for name, level in {**_QUIET, **_TALKATIVE}.items():
        logging.getLogger(name).setLevel(max(level, getattr(logging, settings.log_level)))


def log_event(event: str, message: str, /, *, level: str = "INFO", **fields: Any) -> None:
    """Log one event.

    Args:
        event: Stable snake_case name that operators filter by (`events.py` lists them).
        message: The sentence for people.
        level: DEBUG, INFO, WARNING, ERROR.
        fields: Evidence; JSON values.
    """
    logger.bind(event=event, **fields).opt(depth=1).log(level, "{}", message)


def log_failure(event: str, message: str, error: BaseException, /, **fields: Any) -> None:
    """Log an error of ours with its traceback, under a stable event name."""
    logger.bind(event=event, **fields).opt(depth=1, exception=error).log("ERROR", "{}", message)


def json_line(record: Record, *, service: str, identity: str) -> str:
    """One record as a JSON object on one line; `time` is ISO 8601 with its zone."""
    line: dict[str, Any] = {
        "time": record["time"].isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "service": service,
        "identity": identity,
        "event": record["extra"].get("event", "log"),
        "message": record["message"],
        "logger": record["name"],
    }
    line.update({name: value for name, value in record["extra"].items() if name not in line})
    if text := _exception_text(record):
        line["exception"] = text
    return json.dumps(line, default=str, ensure_ascii=False)


def text_line(record: Record) -> str:
    """One record for a terminal: time, level, event, message, fields; a traceback follows on lines of its own."""
    apart = ("event", "exception", *_CONTEXT_ATTRIBUTES)
    extra = {name: value for name, value in record["extra"].items() if name not in apart}
    fields = "".join(f" {name}={_short(value)}" for name, value in extra.items())
    event = record["extra"].get("event", record["name"])
    text = f"{record['time']:HH:mm:ss.SSS} {record['level'].name:<7} {event}: {record['message']}{fields}"
    exception = _exception_text(record)
    return f"{text}\n{exception}" if exception else text


def _short(value: Any) -> str:
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value, default=str)


def _exception_text(record: Record) -> str:
    given = record["extra"].get("exception")
    if isinstance(given, str):
        return given  # A handler's, whose secrets are left out of it.
    exception = record["exception"]
    if exception is None or exception.value is None:
        return ""
    # logging's formatter, not loguru's: no variable values, which may be secrets.
    return logging.Formatter().formatException((type(exception.value), exception.value, exception.traceback))
