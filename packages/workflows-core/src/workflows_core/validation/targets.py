"""Where the assignment paths of a step stand."""

from __future__ import annotations

from collections.abc import Iterator

from workflows_core.definitions.model import (
    ActionCallStep,
    AssignStep,
    CallWorkflowStep,
    EventWaitStep,
    ForEachStep,
    HumanTaskStep,
    ParseBodyStep,
    RenderCommentBlocksStep,
    Step,
    TimeWaitStep,
    TryCatchStep,
)
from workflows_core.definitions.walk import field_path


def assign_targets(path: str, step: Step) -> Iterator[tuple[str, str, str | None]]:
    """Every assignment path of a step: where it stands, its text, and the scope it has when it names none."""
    match step:
        case AssignStep():
            for text in step.config.assign:
                yield field_path(f"{path}.config.assign", text), text, None
        case EventWaitStep() | TimeWaitStep() | HumanTaskStep():
            for text in step.config.assign or ():
                yield field_path(f"{path}.config.assign", text), text, "vars"
        case ActionCallStep() if step.config.save_as is not None:
            yield f"{path}.config.saveAs", step.config.save_as, "vars"
        case ParseBodyStep() | RenderCommentBlocksStep():
            yield f"{path}.config.saveAs", step.config.save_as, "vars"
        case _:
            yield from _control_paths(path, step)


def _control_paths(path: str, step: Step) -> Iterator[tuple[str, str, str | None]]:
    match step:
        case CallWorkflowStep():
            for text in step.output_mapping or ():
                yield field_path(f"{path}.outputMapping", text), text, "vars"
        case ForEachStep():
            for name, target in (("saveAs", step.save_as), ("errorsAs", step.errors_as)):
                if target is not None:
                    yield f"{path}.{name}", target, "vars"
        case TryCatchStep(capture_error_as=str(text)):
            yield f"{path}.captureErrorAs", text, "vars"
