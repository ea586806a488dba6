"""Secrets in an input, and none in what comes out."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows_core.actions.action import Action, ActionContext, Effect
from workflows_core.actions.call import TrackedSecrets, resolve_secrets, scrub
from workflows_core.actions.secrets import SERVICE_SECRETS, MappingSecrets
from workflows_core.errors import ActionFailed, ErrorCategory
from workflows_core.redaction import REDACTED

SECRETS = MappingSecrets({"A": "value-a", "B": 'line\n"two" ü', "C": "value-a"})


async def handler(value: Any, _context: ActionContext) -> Any:
    return value


SENDS = Action(id="test.send", version=1, handler=handler, input_schema={"type": "object"}, output_schema={})


@pytest.mark.asyncio
async def test_references_are_replaced_at_any_depth_and_the_input_stays_as_it_is() -> None:
    value = {"x": {"$secret": "A"}, "list": [1, {"deep": {"$secret": "B"}}, {"$secret": "C"}], "n": None}
    before = copy.deepcopy(value)
    resolved, values = await resolve_secrets(value, "acme", SECRETS, action=SENDS)
    assert resolved == {"x": "value-a", "list": [1, {"deep": 'line\n"two" ü'}, "value-a"], "n": None}
    assert sorted(values) == ['line\n"two" ü', "value-a"]
    assert value == before


@pytest.mark.asyncio
@pytest.mark.parametrize("value", [None, 5, "x", {"$secret": 5}, {"$secret": "A", "other": 1}, {"secret": "A"}, []])
async def test_what_is_no_reference_stays(value: Any) -> None:
    assert await resolve_secrets(value, "acme", SECRETS) == (value, ())


@pytest.mark.asyncio
async def test_every_secret_that_cannot_be_used_is_named_with_its_place() -> None:
    value = {"a": {"$secret": "NOPE"}, "b": [{"$secret": "lower"}], "c": {"$secret": "A"}}
    with pytest.raises(ActionFailed) as failed:
        await resolve_secrets(value, "acme", SECRETS)
    failure = failed.value.failure
    assert (failure.category, failure.code) == (ErrorCategory.VALIDATION, "SECRET_NOT_FOUND")
    assert failure.details is not None
    assert [one["pointer"] for one in failure.details["problems"]] == ["/a", "/b/0"]
    assert "NOPE" in failure.message
    assert "value-a" not in json.dumps(failure.to_json())


@pytest.mark.asyncio
@pytest.mark.parametrize("effect", [Effect.PURE, Effect.TRANSACTIONAL])
async def test_an_action_that_can_only_store_it_gets_no_secret(effect: Effect) -> None:
    with pytest.raises(ActionFailed, match=r"/x holds a secret") as failed:
        await resolve_secrets({"x": {"$secret": "A"}}, "acme", SECRETS, action=replace(SENDS, effect=effect))
    assert failed.value.failure.code == "SECRET_NOT_ALLOWED"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", sorted(SERVICE_SECRETS))
async def test_the_keys_of_the_installations_services_are_nobodys_to_send(name: str) -> None:
    secrets = MappingSecrets({"A": "value-a", name: "canary"})
    with pytest.raises(ActionFailed, match=rf"/text .*{name} is the key of one of the installation's own") as failed:
        await resolve_secrets({"to": {"$secret": "A"}, "text": {"$secret": name}}, "acme", secrets, action=SENDS)
    with pytest.raises(ActionFailed, match="another name") as computed:
        await TrackedSecrets(secrets).get("acme", name)
    for failure in (failed.value.failure, computed.value.failure):
        assert (failure.category, failure.code) == (ErrorCategory.VALIDATION, "SECRET_RESERVED")
        assert "canary" not in json.dumps(failure.to_json())


@pytest.mark.asyncio
async def test_each_secret_is_asked_for_once_and_for_the_tenant() -> None:
    asked = []

    class Recording:
        async def get(self, tenant_id: str, name: str) -> str | None:
            asked.append((tenant_id, name))
            return "v"

    await resolve_secrets([{"$secret": "A"}, {"$secret": "A"}], "acme", Recording())
    assert asked == [("acme", "A")]


@pytest.mark.asyncio
async def test_an_input_nested_without_end_is_refused() -> None:
    deep: Any = {"$secret": "A"}
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(ActionFailed, match="nested deeper than 200 levels"):
        await resolve_secrets(deep, "acme", SECRETS)


@pytest.mark.asyncio
async def test_a_tracked_provider_remembers_what_it_gave() -> None:
    tracked = TrackedSecrets(SECRETS)
    assert await tracked.get("acme", "A") == "value-a"
    assert await tracked.get("acme", "MISSING") is None
    await tracked.get("acme", "C")
    assert tracked.values == ("value-a",)


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)


@given(VALUES, st.text(max_size=5), st.text(max_size=5))
def test_no_writing_of_a_secret_stays(secret: str, before: str, after: str) -> None:
    texts = [
        secret,
        json.dumps(secret),
        json.dumps(secret, ensure_ascii=False),
        repr(secret),
        quote(secret),
        quote_plus(secret),
        base64.b64encode(secret.encode()).decode(),
    ]
    value = {"message": [before + text + after for text in texts], f"key {secret}": 1}
    scrubbed = scrub(value, [secret])
    messages = next(iter(scrubbed.values()))  # a short secret may stand in the field's name too
    for text in [*messages, *scrubbed]:
        assert secret not in text.replace(REDACTED, "\x00")
    assert messages[6].count(base64.b64encode(secret.encode()).decode()) == 0


def test_the_longer_secret_goes_first() -> None:
    assert scrub("abcdef abc", ["abc", "abcdef"]) == f"{REDACTED} {REDACTED}"


@pytest.mark.parametrize("secrets", [[], [""]])
def test_without_secrets_nothing_changes(secrets: list[str]) -> None:
    value = {"a": ["b"]}
    assert scrub(value, secrets) is value


def test_what_is_no_text_stays() -> None:
    assert scrub({"a": [1, 2.5, True, None, ("x", "s")]}, ["s"]) == {"a": [1, 2.5, True, None, ["x", REDACTED]]}
