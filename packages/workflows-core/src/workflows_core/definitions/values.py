"""Value kinds of a definition: expressions, secret references, literals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

_T = TypeVar("_T")


class Model(BaseModel):
    """Base of every object of a definition: strict, immutable, unknown keys refused, camelCase in documents."""

    # A validator holds the schemas of everything below it. Only the definition's is used, so only that one is built.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel, defer_build=True)

    @classmethod
    def document_fields(cls) -> dict[str, FieldInfo]:
        """The fields by their names in the document, their types resolved."""
        cls.model_rebuild()
        return {field.alias or name: field for name, field in cls.model_fields.items()}


def _refuse_null(value: Any) -> Any:
    if value is None:
        raise PydanticCustomError("null_not_allowed", "must be absent, not null")
    return value


MayBeAbsent = Annotated[_T | None, BeforeValidator(_refuse_null)]
"""A field that may be absent; `None` in the model means absent, null in the document is refused."""


class Expr(Model):
    """`{"$expr": "<JSONata>"}`. Other keys are discarded, as the original does. Drafts may hold an empty one."""

    model_config = ConfigDict(extra="ignore")

    source: str = Field(alias="$expr")


class SecretRef(Model):
    """`{"$secret": "NAME"}`, and nothing beside it. Whether the name is a good one is a matter of validation."""

    name: str = Field(alias="$secret")


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "<expr>" if "$expr" in value else "<secret>" if "$secret" in value else "<object>"
    if isinstance(value, list):
        return "<list>"
    return "<expr>" if isinstance(value, Expr) else "<secret>" if isinstance(value, SecretRef) else "<scalar>"


Scalar = str | int | float | bool | None
"""A JSON value that holds no other."""

if TYPE_CHECKING:
    Value: TypeAlias = "Expr | SecretRef | dict[str, Value] | list[Value] | Scalar"
else:
    # The tags appear in pydantic's error locations; locate.py passes over them. No key of a document looks like them.
    Value = TypeAliasType(
        "Value",
        Annotated[
            Annotated[Expr, Tag("<expr>")]
            | Annotated[SecretRef, Tag("<secret>")]
            | Annotated[dict[str, "Value"], Tag("<object>")]
            | Annotated[list["Value"], Tag("<list>")]
            | Annotated[Any, Tag("<scalar>")],
            Discriminator(_kind),
        ],
    )
"""An expression, a secret reference, or a literal whose nested values may be expressions and secret references."""

InputMapping = dict[str, Value]
"""Field name to value: an action's input, a trigger's payload."""

ExprMap = dict[str, Expr]
"""Name or path to expression: no literals, no secrets. Order is the authored one."""
