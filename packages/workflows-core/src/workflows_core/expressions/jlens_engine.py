"""The expression engine: JSONata by `jlens`, deterministic and bounded by counts. Nothing else imports jlens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jlens

from workflows_core.expressions.attempts import Attempts, needs_attempts, work_at_once
from workflows_core.expressions.edits import Edited, edited
from workflows_core.expressions.engine import NO_VALUE, ExpressionFailed, ExpressionInvalid, Limits
from workflows_core.expressions.functions import HOST_FUNCTIONS, MAX_ITEMS, REFUSED_FUNCTIONS, LongRange, refuse
from workflows_core.expressions.looks import Looks
from workflows_core.expressions.made_values import measuring_edits, range_edits
from workflows_core.expressions.normalise import normalising_edits
from workflows_core.expressions.pricing import price_of
from workflows_core.expressions.reading import cut, cutter_of, dotted, json_bytes, longest_text, nests_deeper
from workflows_core.expressions.tokens import tokenise

MAX_SOURCE_LENGTH = 32 * 1024
"""Longest source, in characters."""

_CACHED_SOURCES = 4096
_SHOWN_SOURCE = 200
_PANIC = "PanicException"
"""Name of the class that nobody can import."""

_SEEDS = 2**63
_UNITS = {
    "max_steps": "steps",
    "max_depth": "levels of nesting",
    "max_array_length": "items in a list",
    "max_string_bytes": "bytes in a string",
    "max_result_bytes": "bytes in the result",
}
_MEASURED = {
    "max_steps": "it takes more",
    "max_result_bytes": "a value that it makes, names or gives to a function is longer",
}
"""What is said where values are measured: the engine's own words count the measuring, too."""
_SHORT_TEXT = 16 * 1024
"""Bytes up to which a text does not count as long."""
_FAR_REACH = 1024
"""Characters behind which a look counts as long: those of `(?=a*)` are not counted by the engine."""
_FAR_WORK = 512 * 1024
"""Such characters times steps; a step is a thousand looks."""
_FEWEST_STEPS = 8


class _ListTooLong(Exception):
    """What the engine says of a list over the limit, said before it has made one."""

    code = "U1001"

    def __init__(self, items: int) -> None:
        super().__init__(f"An array would exceed the size limit of {items} items")


class JlensExpression:
    """A compiled expression; made by `JlensEngine.compile`.

    Attributes:
        source: As authored.
        reads: Dotted paths of the document it reads; only `*` when it reads the document as a whole (`$`, `**`).
        has_patterns: Whether it has a pattern (`/…/`).
    """

    def __init__(self, source: str, limits: Limits) -> None:
        self.source = source
        self._limits = limits
        tokens = tokenise(source)
        edits = normalising_edits(tokens)
        patterns = [token.text for token in tokens if token.kind == "regex"]
        self.has_patterns = bool(patterns)
        self._looks = Looks.of(patterns)
        prepared = edited(source, edits)
        self._value = _compiled(prepared)
        self._price = price_of(tokens)  # After it was refused to nest too deeply, since each level makes this longer.
        reads = self._value.reads()
        unknown = sorted(name for name in reads["bindings"] if name not in HOST_FUNCTIONS)
        if unknown or reads.get("everyBinding"):
            what = f"${unknown[0]} is not defined here" if unknown else "the expression may read anything"
            raise ExpressionInvalid(what, max(source.find(f"${unknown[0]}"), 0) if unknown else None)
        read = reads.get("input", {})
        self.reads = dotted(read)
        self._cutter = cutter_of(read)
        measuring = measuring_edits(tokens) if self._price.repeats else []
        self._measured = bool(measuring)
        if measuring:
            prepared = edited(source, [*edits, *measuring])
            self._value = _compiled(prepared)
        ranges = range_edits(tokens)
        self._counting = _compiled(edited(source, [*edits, *measuring, *ranges])) if ranges else None
        # The engine gives None for null and for no value; this tells them apart, in that case only.
        self._kind = _compiled(prepared, "$type(({}))")

    def evaluate(self, document: Mapping[str, Any], *, now_ms: int, seed: int, limits: Limits | None = None) -> Any:
        """See `engine.Expression.evaluate`. Other Python threads run meanwhile."""
        limits = limits or self._limits
        try:
            # Only what is read is converted: an expression over `payload.id` costs the same for any payload.
            read, size = cut(document, self._cutter)
            cut_down = jlens.Document(read)
            attempts, attempt, work = None, limits, work_at_once(self._price, size)
            if needs_attempts(self._price, work, limits):
                attempts = Attempts(self._price, size, limits, measured=self._measured)
                attempt = attempts.first()
            if self.has_patterns:
                attempt = _for_patterns(attempt, longest_text(read), self._looks)
            while True:
                if limits.meter is not None:
                    limits.meter(size, work if attempts is None else attempts.work(attempt))
                try:
                    value = self._attempt(cut_down, attempt, now_ms, seed)
                except (jlens.JlensError, _ListTooLong) as error:
                    attempt = self._wider(attempts, attempt, error, limits)
                    continue
                self._require_fit(value, attempt, limits)
                return value
        except ExpressionFailed:
            raise
        except BaseException as error:
            # What the engine's own code gives up (a panic) is no Exception: a run would stand still without a word.
            if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
                raise
            raise ExpressionFailed(f"expression {self._shown()} failed: {error}") from error

    def _require_fit(self, value: Any, attempt: Limits, limits: Limits) -> None:
        """Refuses a result over the limits, as the engine does not where an attempt has more, or not at all."""
        if attempt.max_result_bytes > limits.max_result_bytes and json_bytes(value) > limits.max_result_bytes:
            raise ExpressionFailed(self._over(limits, "max_result_bytes"))
        if nests_deeper(value, limits.max_depth):
            raise ExpressionFailed(self._over(limits, "max_depth"))

    def _attempt(self, document: jlens.Document, limits: Limits, now_ms: int, seed: int) -> Any:
        steps = limits.max_steps * 2 if self._measured else limits.max_steps  # Measuring takes as many as the measured.
        self._refuse_long_ranges(document, limits, steps, now_ms, seed)
        value = _evaluated(self._value, document, limits, steps, now_ms, seed)
        if value is not None:
            return value
        deeper = replace(limits, max_depth=limits.max_depth + 10)
        kind = _evaluated(self._kind, document, deeper, steps + 10, now_ms, seed)
        if kind == "function":
            raise ExpressionFailed(f"expression {self._shown()} gives a function, which is no JSON value; call it")
        return None if kind == "null" else NO_VALUE

    def _refuse_long_ranges(self, document: jlens.Document, limits: Limits, steps: int, now_ms: int, seed: int) -> None:
        """Fails where an attempt with these limits would make a range that no list may hold.

        The engine makes a range before it counts it, up to ten million items, which takes a fifth of a second. With
        counted ranges it takes a step more for each: what is met here is met without them, too.

        Raises:
            _ListTooLong: As the attempt would fail.
        """
        if self._counting is None or limits.max_array_length > MAX_ITEMS:
            return
        try:
            _evaluated(self._counting, document, limits, steps, now_ms, seed)
        except LongRange:
            raise _ListTooLong(limits.max_array_length) from None
        except Exception:
            return  # The attempt itself will tell.

    def _wider(
        self, attempts: Attempts | None, failed: Limits, error: jlens.JlensError | _ListTooLong, limits: Limits
    ) -> Limits:
        """More of what an attempt has run out of.

        Raises:
            ExpressionFailed: There is no more, or it has failed for another reason.
        """
        met = _limit_met(error)
        wider = None
        if attempts is not None and met is not None and not self.has_patterns:
            wider = attempts.wider(failed, met)
        if wider is None:
            raise ExpressionFailed(self._explain(error, failed, limits), error.code) from None
        return wider

    def _explain(self, error: jlens.JlensError | _ListTooLong, limits: Limits, full: Limits) -> str:
        met = _limit_met(error)
        if met is None:
            return f"expression {self._shown()} failed: {error}"
        why = ""
        if self.has_patterns and met == "max_steps":
            why = "; with a pattern it is the lower, the longer the text: see transform.regex_replace"
        elif getattr(limits, met) < getattr(full, met):
            why = "; the more data is read again and again, the lower it is: read less, or divide it into several steps"
        what = _MEASURED[met] if self._measured and met in _MEASURED else error
        return f"{self._over(limits, met, why)}: {what}"

    def _over(self, limits: Limits, met: str, why: str = "") -> str:
        limit = f"{getattr(limits, met)} {_UNITS[met]} ({met}{why})"
        return f"expression {self._shown()} went over the limit of {limit}"

    def _shown(self) -> str:
        source = self.source
        return repr(source if len(source) <= _SHOWN_SOURCE else f"{source[: _SHOWN_SOURCE - 3]}...")


class JlensEngine:
    """Compiles authored expressions, each source once.

    Args:
        limits: Bounds of every evaluation.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._compile = lru_cache(maxsize=_CACHED_SOURCES)(lambda source: JlensExpression(source, self._limits))

    @property
    def version(self) -> str:
        """Name and version of the engine."""
        return f"jlens {jlens.__version__}"

    def compile(self, source: str) -> JlensExpression:
        """Compiles and checks a source.

        Raises:
            ExpressionInvalid: Empty or too long, wrong syntax, a function that is not allowed, an unknown variable.
        """
        if not source.strip():
            raise ExpressionInvalid("the expression is empty", 0)
        if len(source) > MAX_SOURCE_LENGTH:
            raise ExpressionInvalid(f"the expression has {len(source)} characters, at most {MAX_SOURCE_LENGTH}")
        return self._compile(source)


def _evaluated(
    compiled: jlens.Expression, document: jlens.Document, limits: Limits, steps: int, now_ms: int, seed: int
) -> Any:
    return compiled.evaluate_document(
        document,
        max_steps=steps,
        max_depth=limits.max_depth,
        max_array_length=limits.max_array_length,
        max_result_size=limits.max_result_bytes,
        max_string_length=limits.max_string_bytes,
        now=now_ms,
        seed=seed % _SEEDS,
    )


def _for_patterns(limits: Limits, longest: int, looks: Looks) -> Limits:
    """Fewer steps the longer the texts, those that are read and those that may be made of them, and the looks."""
    is_far = looks.reach > _FAR_REACH
    text = min(limits.max_string_bytes, max(_FAR_REACH if is_far else _SHORT_TEXT, 2 * longest))
    steps = min(limits.max_steps, limits.max_pattern_work // max(_SHORT_TEXT, text, longest) // (1 + looks.size // 4))
    if is_far:
        steps = min(steps, max(_FEWEST_STEPS, _FAR_WORK // min(looks.reach, max(text, longest))))
    return replace(limits, max_steps=max(steps, 1), max_string_bytes=text)


def _limit_met(error: jlens.JlensError | _ListTooLong) -> str | None:
    """Name of the limit that ended an evaluation; None when it was none."""
    if error.code == "U1006":
        return "max_steps"
    if error.code in ("D1011", "D1012"):
        return "max_depth"
    if error.code == "U1001":
        text = str(error)
        made = {"An array": "max_array_length", "A string": "max_string_bytes"}
        return next((name for start, name in made.items() if text.startswith(start)), "max_result_bytes")
    return None


def _compiled(prepared: Edited, form: str = "{}") -> jlens.Expression:
    try:
        expression = jlens.Expression(form.format(prepared.text))
    except jlens.JlensError as error:
        position = error.start if error.start is not None else error.position
        where = None if position is None else prepared.authored_position(position)
        raise ExpressionInvalid(str(error), where) from None
    for name, implementation in HOST_FUNCTIONS.items():
        if name in prepared.text:  # Each takes its part of the time of every evaluation.
            expression.register_function(name, implementation)
    for name in REFUSED_FUNCTIONS:
        expression.register_function(name, refuse)
    return expression
