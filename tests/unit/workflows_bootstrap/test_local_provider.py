"""The local AI provider: deterministic, and every answer fits its schema."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.actions import call
from workflows_bootstrap.inference.accounting import TokenAccount
from workflows_bootstrap.inference.action import infer_actions
from workflows_bootstrap.inference.service import inference_provider
from workflows_bootstrap.inference.settings import InferenceSettings, ProviderKind
from workflows_core.actions.json_schemas import compile_schema, value_problems
from workflows_core.actions.secrets import MappingSecrets
from workflows_core.errors import ActionFailed


def schemas(depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.tuples(st.integers(-50, 50), st.integers(0, 40)).map(
        lambda both: {"minimum": both[0], "maximum": both[0] + both[1]}
    )
    lengths = st.tuples(st.integers(0, 9), st.integers(0, 30)).map(
        lambda both: {"type": "string", "minLength": both[0], "maxLength": both[0] + both[1]}
    )
    leaf: st.SearchStrategy[dict[str, Any]] = st.one_of(
        bounds.map(lambda both: {"type": "integer", **both}),
        bounds.map(lambda both: {"type": "number", **both}),
        lengths,
        st.sampled_from(["date", "date-time", "email", "uri", "uuid"]).map(lambda f: {"type": "string", "format": f}),
        st.lists(st.text("xyz ü", max_size=5), min_size=1, max_size=4, unique=True).map(lambda found: {"enum": found}),
        st.booleans().map(lambda found: {"const": found}),
        st.just({"type": ["string", "null"]}),
        st.just({"type": "boolean"}),
    )
    if depth == 0:
        return leaf
    inner = schemas(depth - 1)
    lists = st.tuples(inner, st.integers(0, 3)).map(
        lambda both: {"type": "array", "items": both[0], "minItems": both[1], "maxItems": both[1] + 1}
    )
    return st.one_of(leaf, lists, objects(inner), st.lists(inner, min_size=1, max_size=3).map(lambda s: {"anyOf": s}))


def objects(members: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.text("abc", min_size=1, max_size=3), members, max_size=4).map(
        lambda found: {
            "type": "object",
            "properties": found,
            "required": sorted(found)[::2],
            "additionalProperties": False,
        }
    )


@given(schema=objects(schemas()), prompt=st.text("abc é", min_size=1, max_size=20))
def test_the_local_provider_fits_the_schema_and_answers_the_same_again(schema: dict[str, Any], prompt: str) -> None:
    provider = inference_provider(InferenceSettings(provider=ProviderKind.LOCAL), MappingSecrets({}))
    (infer,) = infer_actions(provider, TokenAccount())

    async def both() -> list[Any]:
        return [await call(infer, {"prompt": prompt, "outputSchema": schema}) for _ in range(2)]

    first, second = asyncio.run(both())
    assert first == second
    assert value_problems(compile_schema(schema), first) == []


@pytest.mark.asyncio(loop_scope="session")
async def test_the_local_provider_follows_references_and_says_what_it_cannot() -> None:
    provider = inference_provider(InferenceSettings(provider=ProviderKind.LOCAL), MappingSecrets({}))
    (infer,) = infer_actions(provider, TokenAccount())
    tree = {
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/node"}},
        "required": ["root"],
        "$defs": {
            "node": {
                "allOf": [{"properties": {"name": {"type": "string"}}, "required": ["name"]}],
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            }
        },
    }
    found = await call(infer, {"prompt": "x", "outputSchema": tree})
    assert isinstance(found["root"]["name"], str)
    hard = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^z{9}$"}}, "required": ["x"]}
    with pytest.raises(ActionFailed) as raised:
        await call(infer, {"prompt": "x", "outputSchema": hard})
    assert raised.value.failure.code == "AI_REFUSED"
