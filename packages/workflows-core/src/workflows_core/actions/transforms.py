"""The transforms of the core pack: pure and short, in four groups."""

from __future__ import annotations

from collections.abc import Sequence

from workflows_core.actions.action import Action
from workflows_core.actions.compose_text import compose_text
from workflows_core.actions.json_transforms import json_transforms
from workflows_core.actions.object_transforms import object_transforms
from workflows_core.actions.regex_transforms import regex_transforms
from workflows_core.actions.text_transforms import text_transforms


def transforms() -> Sequence[Action]:
    """Every `transform.*` action."""
    return (*object_transforms(), *text_transforms(), compose_text(), *json_transforms(), *regex_transforms())
