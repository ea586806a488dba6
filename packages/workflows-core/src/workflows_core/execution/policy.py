"""Numbers an installation may choose for its runs."""

from __future__ import annotations

from dataclasses import dataclass

from workflows_core.actions.action import Action


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """Bounds of one execution.

    Attributes:
        continue_after_steps: Steps until continue-as-new. Temporal lets a second pass between the begins of two
            executions: with fewer, a long loop mostly waits for that second.
        continue_after_effort: What expressions may cost until then (`interpreter.effort`): a replay, which does all of
            it in one workflow task of 10 s, takes 8 s at most. Beside an action that is open, an execution may take
            four times as much of each of these, since continuing would cancel it.
        continue_after_signals: Signals until continue-as-new; the server refuses more than 10,000.
        call_ahead: Short actions that follow one another are called by one local activity (`execution.short_calls`).
        last_action_ends: The last action of a run writes its end as well (`execution.last_calls`).
        unavailable_after_ms: An action that no process serves for this long, in milliseconds, fails its step as
            `ActionUnavailable`.
        max_output_bytes: An action's output above this fails as `PayloadTooLarge`.
        max_short_output_bytes: The same for short actions, whose result lies in the workflow task.
    """

    continue_after_steps: int = 1_000
    continue_after_effort: int = 2_000
    continue_after_signals: int = 1_000
    call_ahead: bool = True
    last_action_ends: bool = True
    unavailable_after_ms: int = 60_000
    max_output_bytes: int = 1024 * 1024
    max_short_output_bytes: int = 64 * 1024

    def output_bytes_of(self, action: Action) -> int:
        """What its output may have."""
        return self.max_short_output_bytes if action.short else self.max_output_bytes
