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

FULL = Limits()
NARROW = replace(FULL, max_steps=500, max_string_bytes=16 * 1024, max_pattern_work=3 * 1024 * 1024)


class Effort:
    """What was spent since it was made, and in the step at work."""

    def __init__(self) -> None:
        self.total = 0
        self._of_step = 0

    def begin_step(self) -> None:
        """Another step is at work."""
        self._of_step = 0

    def spend(self, expression: Expression) -> Limits:
        """Counts an evaluation that comes now; its limits.

        Raises:
            ExpressionFailed: The step has spent all it may.
        """
        effort = EFFORT_OF_PATTERNS if expression.has_patterns else 1
        self._of_step += effort
        self.total += effort
        if self._of_step > MAX_EFFORT:
            raise ExpressionFailed(
                f"the step evaluates more than {MAX_EFFORT} expressions (one with a pattern counts as "
                f"{EFFORT_OF_PATTERNS}); divide it"
            )
        return FULL if self._of_step <= FULL_EFFORT else NARROW

    def spend_on_mail(self, characters: int) -> None:
        """Counts the reading of a mail's body of so many characters."""
        self.total += characters // MAIL_PER_EFFORT
