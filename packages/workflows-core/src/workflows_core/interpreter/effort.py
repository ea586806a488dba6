"""How much expressions may cost, counted before they are evaluated.

A workflow task that runs for two seconds is given up by the SDK and begun again, for ever. So a step ends before, with
a failure of its own, and a task stops between two steps. All of it is counts: every machine decides alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workflows_core.expressions.engine import Expression, ExpressionFailed, Limits

EFFORT_OF_PATTERNS: Final = 16
"""An expression with a pattern (`/…/`) may take so much longer than one without, whose effort is 1."""

FULL_EFFORT: Final = 128
"""What the expressions of one step may cost with the full limits; those behind have narrow ones."""

MAX_EFFORT: Final = 1024
"""What the expressions of one step may cost at most."""

MAIL_PER_EFFORT: Final = 1024
"""Characters of a mail's body that cost as much as an expression to be read."""

ANSWER_PER_EFFORT: Final = 512
"""Likewise bytes of JSON of an answer that is held against its schema."""

READ_PER_EFFORT: Final = 16 * 1024
"""Bytes of JSON that an expression reads for as much as a small one costs."""

WORK_PER_EFFORT: Final = 2 * 1024 * 1024
"""Likewise its work, steps times bytes (`expressions.attempts`)."""

DEAR: Final = 16
"""Behind `FULL_EFFORT` reading and work count so many times, for the step."""

FULL = Limits()
NARROW = replace(
    FULL,
    max_steps=500,
    max_string_bytes=16 * 1024,
    max_pattern_work=3 * 1024 * 1024,
    max_work=3 * 1024 * 1024,
)


class Effort:
    """What was spent since it was made, and in the step at work."""

    def __init__(self) -> None:
        self.total = 0
        self._of_step = 0
        # Made where they are used: most turns of a run evaluate little, some of them thousands.
        self._full: Limits | None = None
        self._narrow: Limits | None = None

    def begin_step(self) -> None:
        """Another step is at work."""
        self._of_step = 0

    def spend(self, expression: Expression) -> Limits:
        """Counts an evaluation that comes now; its limits.

        Raises:
            ExpressionFailed: The step has spent all it may.
        """
        self._add(EFFORT_OF_PATTERNS if expression.has_patterns else 1)
        if self._of_step <= FULL_EFFORT:
            self._full = self._full or replace(FULL, meter=self._met)
            return self._full
        self._narrow = self._narrow or replace(NARROW, meter=self._met)
        return self._narrow

    def _met(self, size: int, work: int) -> None:
        """An evaluation that was counted reads so many bytes, for so much work."""
        more = size // READ_PER_EFFORT + work // WORK_PER_EFFORT
        if more:
            self._add(more, DEAR if self._of_step > FULL_EFFORT else 1)

    def _add(self, effort: int, times: int = 1) -> None:
        self._of_step += effort * times
        self.total += effort
        if self._of_step > MAX_EFFORT:
            raise ExpressionFailed(
                f"the step evaluates more than {MAX_EFFORT} expressions (one with a pattern counts as "
                f"{EFFORT_OF_PATTERNS}, one over much data as several); divide it"
            )

    def spend_on_mail(self, characters: int) -> None:
        """Counts the reading of a mail's body of so many characters."""
        self.total += characters // MAIL_PER_EFFORT

    def spend_on_answer(self, size: int) -> None:
        """Counts the check of an answer of so many bytes."""
        self.total += 1 + size // ANSWER_PER_EFFORT
