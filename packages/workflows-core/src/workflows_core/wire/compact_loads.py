"""What an execution begins with as it stands in its history: without what is usual, and a long definition compressed.

Reading takes both forms, as in `wire.compact`; here too a value that stands for what is usual never changes.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final, cast

from workflows_core.wire.compact import compact_json, without
from workflows_core.wire.records import LoadedRun

COMPRESSED_FROM_BYTES = 1024
"""A definition of this length in JSON is compressed in the history; the published version is what people read."""

DEFINITION_WORDS: Final = (
    b'"compensateOnCancel":true,"semanticsVersion":1,"description":"","jitter":0.2,"maxDelayMs":"retryOn":["TransportError"'
    b'"control.parallel","branches":{"control.switch","cases":[{"when":"default":[]"control.while","maxIterations":'
    b'"control.tryCatch","try":[],"catch":[],"finally":[]"control.callWorkflow","config":{"workflowId":"payloadMapping":{'
    b'"control.return","value":"email.parseBody""human.task","config":{"title":"assignees":["dueInMs":"answerSchema":{'
    b'"type":"object","properties":{"required":["type":"string"},"lookbackMs":"match":"one","filters":[{"path":"","op":"==",'
    b'"value":"time.wait","config":{"durationMs":"retry":{"maxAttempts":3,"backoffMs":1000},"onError":{"strategy":"continue"'
    b'"control.forEach","items":{"$expr":"payload.items"},"itemVar":"item","concurrency":"body":[],"collect":{"$expr":"'
    b'"transform.assign","config":{"assign":{"vars.":{"$expr":""state.set","event.wait","config":{"eventName":"'
    b'"correlationKey":{"$expr":"payload."},"timeoutMs":"onTimeout":[],"control.if","condition":{"$expr":"","then":[],'
    b'"else":[]},"version":1,"name":"","payloadSchemaRef":"payload..v1","triggers":[{"type":"event","steps":[{"id":"",'
    b'"name":"","type":"action.call","config":{"actionId":"","version":1,"inputMapping":{"":{"$expr":"vars."}},"saveAs":""'
    b'}},{"id":"'
)
"""What definitions consist of, for zlib to refer to: with another byte in it no history that there is can be read."""

_LOADED: Final[Mapping[str, Any]] = {"payload": {}, "meta": {}, "recorded": True}
_BOUNDS: Final[Mapping[str, Any]] = {
    "continue_after_steps": 1_000,
    "continue_after_effort": 2_000,
    "continue_after_signals": 1_000,
    "call_ahead": True,
    "last_action_ends": True,
    "unavailable_after_ms": 60_000,
    "max_key_bytes": 2_048,
}
_TRAITS: Final[Mapping[str, Any]] = {
    "short": False,
    "place": "worker",
    "timeout_ms": 600_000,
    "heartbeat_ms": 15_000,
    "cancellable": True,
}


def compact_loaded(loaded: LoadedRun) -> dict[str, Any]:
    """Result of the load activity."""
    rest = {name: value for name, value in loaded.items() if name not in _BOUNDS and name != "definition"}
    body = {
        **without(rest, _LOADED),
        "actions": {key: without(traits, _TRAITS) for key, traits in loaded["actions"].items()},
        # There, if empty: histories of before have each of them beside the rest, and mean something else by absence.
        "bounds": without({name: value for name, value in loaded.items() if name in _BOUNDS}, _BOUNDS),
    }
    definition = compact_json(loaded["definition"]).encode()
    if len(definition) < COMPRESSED_FROM_BYTES:
        return {**body, "definition": loaded["definition"]}
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS, zdict=DEFINITION_WORDS)
    deflated = deflate.compress(definition) + deflate.flush()
    return {**body, "definition_deflated": base64.b64encode(deflated).decode()}


def full_loaded(body: Mapping[str, Any]) -> LoadedRun:
    """Inverse of `compact_loaded`."""
    known = dict(body)
    if "bounds" in known:
        actions = {key: {**_TRAITS, **traits} for key, traits in known["actions"].items()}
        known = {**deepcopy(_LOADED), **_BOUNDS, **known.pop("bounds"), **known, "actions": actions}
    if "definition_deflated" in known:
        inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=DEFINITION_WORDS)
        known["definition"] = json.loads(inflate.decompress(base64.b64decode(known.pop("definition_deflated"))))
    if "definition_zlib" in known:  # Of an earlier build.
        known["definition"] = json.loads(zlib.decompress(base64.b64decode(known.pop("definition_zlib"))))
    return cast(LoadedRun, known)
