"""From keys and indices to a place in a definition: its path, its step, the model expected there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from workflows_core.definitions.model import STEP_MODELS, TRIGGER_MODELS, Branch, Definition, Model, SwitchCase
from workflows_core.definitions.walk import field_path

_BRANCHES = ("then", "else", "default", "body", "try", "catch", "onCompensate")


@dataclass(slots=True)
class Place:
    """A place in a document.

    Attributes:
        path: `root.steps[0].config.inputMapping.x`, or a field of the definition itself.
        step_id: Id of the step it is in, if that has one.
        step_type: Type of the step it is in, if it is in one of a known type.
        in_config: Whether it is that step's `config` or in it.
        owner: Model of the object that holds the last key; None where that is no object of the model.
        key: The last key.
        value: What the document has there; None when nothing.
    """

    path: str = ""
    step_id: str | None = None
    step_type: str | None = None
    in_config: bool = False
    owner: type[Model] | None = None
    key: str | int | None = None
    value: Any = None

    def known_fields(self) -> list[str]:
        """Document names of the fields that the owner has."""
        return list(self.owner.document_fields()) if self.owner else []


def locate(document: Any, location: Sequence[str | int]) -> Place:
    """Follows keys and indices; the tags that pydantic puts between them are passed over."""
    place = Place(value=document)
    model: type[Model] | None = Definition
    items: type[Model] | None = None  # Model of the objects in the list that `place.value` may be.
    in_steps = False
    for key in location:
        if _is_tag(key, place):
            continue
        place.owner, place.key = model, key
        if in_steps and isinstance(key, int):
            place.path += f"[{key}]" if place.path == "root.steps" else f".steps[{key}]"
            place.value = _child(place.value, key)
            model = _tagged(STEP_MODELS, place.value)
            identity = place.value.get("id") if isinstance(place.value, Mapping) else None
            place.step_id = identity if isinstance(identity, str) else None
            place.step_type = None if model is None else str(place.value.get("type"))
            place.in_config = False
            in_steps = False
            continue
        place.value = _child(place.value, key)
        place.in_config = place.in_config or (model in _STEPS and key == "config")
        if model is Definition and key == "steps":
            place.path, model, in_steps = "root.steps", None, True
        elif model in _STEPS and key in _BRANCHES:
            place.path, model, in_steps = f"{place.path}.{key}", None, True
        elif model in (Branch, SwitchCase) and key == "steps":
            model, in_steps = None, True
        elif isinstance(key, int):
            place.path, model = field_path(place.path, key), items
        else:
            place.path = field_path(place.path, key)
            is_trigger = model is Definition and key == "trigger"
            model = _tagged(TRIGGER_MODELS, place.value) if is_trigger else _field_model(model, key)
            items = model
    return place


_STEPS = frozenset(STEP_MODELS.values())


def _is_tag(key: str | int, place: Place) -> bool:
    if not isinstance(key, str):
        return False
    is_value_tag = key.startswith("<") and key.endswith(">")
    is_step_tag = key in STEP_MODELS and place.path.endswith("]")
    return is_value_tag or is_step_tag or (key in TRIGGER_MODELS and place.path == "trigger")


def _tagged(models: Mapping[str, type[Model]], value: Any) -> type[Model] | None:
    kind = value.get("type") if isinstance(value, Mapping) else None
    return models.get(kind) if isinstance(kind, str) else None


def _child(value: Any, key: str | int) -> Any:
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None


def _field_model(model: type[Model] | None, key: str | int) -> type[Model] | None:
    """Model of a field's value, also of the items of a list or of the values of an object."""
    if model is None:
        return None
    field = model.document_fields().get(str(key))
    kinds = [] if field is None else _flat(field.annotation)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Model)), None)


def _flat(annotation: Any) -> list[Any]:
    parts = get_args(annotation)
    return [annotation] if not parts else [leaf for part in parts for leaf in _flat(part)]
