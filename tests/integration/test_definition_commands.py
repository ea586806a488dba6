"""`workflows definitions …`: what it refuses of authors and operators, and what it says of what it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.interpreted import act, document, wait
from harness.operator import command, publish, refused, workflows

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


async def said(environment: dict[str, str], *arguments: str) -> str:
    """The text of a command that must succeed."""
    code, output, error = await command(environment, *arguments)
    assert code == 0, output + error
    return output


def file(directory: Path, content: Any) -> str:
    path = directory / "given.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def bundle(*workflows: dict[str, Any]) -> dict[str, Any]:
    return {"format": "alga-psa.workflow-bundle", "formatVersion": 1, "exportedAt": "", "workflows": list(workflows)}


def bundled(key: str, *versions: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    published = [{"version": n, "definition": {**version, "version": n}} for n, version in enumerate(versions, 1)]
    draft = {"draftVersion": 1, "definition": versions[-1]}
    return {"key": key, "metadata": metadata, "draft": draft, "publishedVersions": published}


async def test_a_paused_workflow_starts_nothing_until_it_is_resumed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    await publish(environment, {**document(wait()), "id": "orders", "onConcurrencyLimit": "wait"}, tmp_path)
    start = ("runs", "start", "orders", "--payload", '{"id": "k1"}')
    await workflows(environment, *start)
    assert "may have 1 open run(s)" in await said(environment, "definitions", "limit", "orders", "1")
    queued = (await workflows(environment, *start))["runId"]
    paused = await said(environment, "definitions", "pause", "orders")
    assert "paused orders: open runs go on, queued ones wait, and no other is started" in paused
    (listed,) = await workflows(environment, "definitions", "list")
    assert (listed["isPaused"], listed["concurrencyLimit"]) == (True, 1)
    header, row = (await said(environment, "definitions", "list")).splitlines()
    cells = dict(zip(header.split(), row.split(), strict=True))
    assert (cells["ISPAUSED"], cells["CONCURRENCYLIMIT"], cells["DRAFTVERSION"]) == ("True", "1", "2")
    message = await refused(environment, *start)
    assert "WORKFLOW_PAUSED" in message
    assert "`workflows definitions resume orders`" in message
    assert "`workflows definitions resume`" in await said(environment, "runs", "show", queued)

    assert "resumed orders" in await said(environment, "definitions", "resume", "orders")
    freed = await workflows(environment, "definitions", "limit", "orders", "none")
    assert (freed["key"], freed["isPaused"], freed["concurrencyLimit"]) == ("orders", False, None)
    assert (await workflows(environment, *start))["status"] != "QUEUED"


async def test_pause_and_limit_of_what_is_not_there_and_limits_that_are_none_are_refused(
    environment: dict[str, str], tmp_path: Path
) -> None:
    await publish(environment, {**document(wait()), "id": "orders"}, tmp_path)
    for arguments in (("pause", "ordrs"), ("resume", "ordrs"), ("limit", "ordrs", "3")):
        message = await refused(environment, "definitions", *arguments)
        assert "WORKFLOW_UNKNOWN" in message
        assert "did you mean 'orders'" in message
    for limit in ("0", "many", "2147483648", "٣", "1.5"):
        assert "neither a number" in await refused(environment, "definitions", "limit", "orders", limit, code=2)
    (listed,) = await workflows(environment, "definitions", "list")
    assert listed["concurrencyLimit"] is None


async def test_a_version_is_taken_back_by_publishing_what_is_shown_of_an_older_one(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Its document has the id of the workflow, and so becomes no workflow whose key is that id and hides the first."""
    right, wrong = {**document(), "id": "orders"}, {**document(), "id": "orders", "description": "wrong"}
    for content in (right, wrong):
        await publish(environment, content, tmp_path)
    shown = await workflows(environment, "definitions", "show", "orders", "--version", "1")
    for number, content in ((3, shown), (4, shown["definition"])):
        path = file(tmp_path, content)
        assert await workflows(environment, "definitions", "validate", path) == {"problems": []}
        assert (await workflows(environment, "simulate", path))["status"] == "completed"
        assert (await workflows(environment, "definitions", "import", path))["key"] == "orders"
        assert (await workflows(environment, "definitions", "publish", "orders"))["version"] == number
        newest = await workflows(environment, "definitions", "show", "orders")
        assert {**newest["definition"], "version": 1} == shown["definition"]
    assert [one["key"] for one in await workflows(environment, "definitions", "list")] == ["orders"]
    graph = ("definitions", "graph", file(tmp_path, shown), "--workflow")
    assert "OPTION_NOT_FITTING" in await refused(environment, *graph, "other")
    assert "flowchart" in await said(environment, *graph, "orders")


async def test_a_draft_that_somebody_else_has_saved_meanwhile_stays(
    environment: dict[str, str], tmp_path: Path
) -> None:
    path = file(tmp_path, {**document(wait()), "id": "orders"})
    save = ("definitions", "import", path, "--expect-draft")
    assert "DRAFT_CHANGED" in await refused(environment, *save, "3")
    assert await workflows(environment, "definitions", "list") == []
    assert (await workflows(environment, *save, "0"))["draftVersion"] == 1
    assert "DRAFT_CHANGED" in await refused(environment, *save, "0")
    assert (await workflows(environment, *save, "1"))["draftVersion"] == 2
    assert "DRAFT_CHANGED" in await refused(environment, *save, "1")
    release = ("definitions", "publish", "orders", "--expect-draft")
    # By the name that was given, and not by an id.
    assert "DRAFT_CHANGED: the draft of 'orders' is no longer draft 1" in await refused(environment, *release, "1")
    assert "its draft is draft 3 now" in await said(environment, *release, "2")
    assert "DRAFT_CHANGED" in await refused(environment, *save, "2")
    assert (await workflows(environment, *release, "3"))["draftVersion"] == 4


async def test_a_bundle_says_what_it_puts_live_and_changes(environment: dict[str, str], tmp_path: Path) -> None:
    path = file(tmp_path, bundle(bundled("orders", document(wait()), document(act()))))
    load = ("definitions", "import", path)
    for options in (("--key", "x"), ("--expect-draft", "1")):
        assert f"OPTION_NOT_FITTING at {options[0]}" in await refused(environment, *load, *options)
    message = await refused(environment, *load)
    assert "error UNKNOWN_ACTION at orders@2 root.steps[0].config.actionId" in message
    assert "BUNDLE_NOT_IMPORTED: nothing is imported; `workflows definitions import --allow-problems`" in message
    assert await workflows(environment, "definitions", "list") == []
    (answer,) = await workflows(environment, *load, "--allow-problems")
    assert (answer["publishedVersion"], answer["importedVersions"], answer["changed"]) == (2, [1, 2], [])
    assert ("error", "UNKNOWN_ACTION") in {(one["severity"], one["code"]) for one in answer["problems"]}

    await workflows(environment, "definitions", "pause", "orders")
    await workflows(environment, "definitions", "limit", "orders", "2")
    again = await said(environment, *load)
    assert "orders keeps the versions that it has published" in again
    assert "resumed" not in again
    (listed,) = await workflows(environment, "definitions", "list")
    assert (listed["isPaused"], listed["concurrencyLimit"]) == (True, 2)
    file(tmp_path, bundle(bundled("orders", document(wait()), isPaused=False, concurrencyLimit=None)))
    resumed = await said(environment, *load)
    assert "orders is resumed, as the bundle has it" in resumed
    assert "orders has no limit, as the bundle has it" in resumed
    file(tmp_path, bundle(bundled("orders", document(wait()), isPaused=True)))
    (answer,) = await workflows(environment, *load)
    assert (answer["changed"], answer["isPaused"]) == (["isPaused"], True)
    single = file(tmp_path, document(wait()))
    assert "OPTION_NOT_FITTING at --allow" in await refused(environment, *load[:2], single, "--allow-problems")


async def test_a_definition_of_a_bundle_is_checked(tmp_path: Path) -> None:
    path = file(tmp_path, bundle(bundled("good", document(wait())), bundled("bad", document(act()))))
    check = ("definitions", "validate", path)
    assert "the bundle has good, bad" in await refused({}, *check)
    code, output, _ = await command({}, *check, "--workflow", "bad")
    assert (code, "UNKNOWN_ACTION" in output) == (1, True)
    assert "UNKNOWN_ACTION" not in await said({}, *check, "--workflow", "good")
