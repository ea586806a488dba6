"""Names of metrics and log events are contracts: the source has these and no others, dashboards name nothing else."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service_host import events

ROOT = Path(__file__).parents[2]
METRICS: dict[str, Any] = tomllib.loads((ROOT / "contracts" / "metrics.toml").read_text(encoding="utf-8"))
EVENTS: dict[str, dict[str, str]] = tomllib.loads((ROOT / "contracts" / "log_events.toml").read_text(encoding="utf-8"))
MONITORING = ROOT / "compose" / "monitoring"
_NAME = re.compile(r"\b(?:service|queue|workflow|temporal)_[a-z_]+\b")
_SELECTOR = re.compile(r"([a-z_]+)\{([^}]*)\}")
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
_LABELS = {"task_queue", "worker_type", "poller_type", "operation", "queue", "workflow"}


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted([*ROOT.glob("packages/*/src/*/**/*.py"), *ROOT.glob("services/*/src/*/**/*.py")]):
        parts = path.relative_to(ROOT).parts
        yield parts[parts.index("src") + 1], path.read_text(encoding="utf-8")


def logged_events() -> set[tuple[str, str]]:
    found = {("service_host", value) for name, value in vars(events).items() if name.isupper()}
    for package, text in sources():
        for node in ast.walk(ast.parse(text)):
            found |= {(package, name) for name in _named_in(node)}
    return found


def _named_in(node: ast.AST) -> Iterator[str]:
    """Names in `log_event("name", ...)` and in `extra={"event": "name"}`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("log_event", "log_failure"):
        if isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "event" and isinstance(value, ast.Constant):
                yield str(value.value)


def expressions() -> list[str]:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*shown, *(rule["expr"] for group in rules["groups"] for rule in group["rules"])]


def test_the_source_logs_the_listed_events_and_no_others() -> None:
    listed = {(package, name) for package, names in EVENTS.items() for name in names}
    # What a JSON object of another meaning calls `event` is no log line.
    others = {("workflows_bootstrap", "usage")}
    assert logged_events() - others == listed


def test_the_source_has_the_listed_metrics_and_no_others() -> None:
    found = set()
    for _, text in sources():
        found |= set(re.findall(r'MetricFamily\(\s*"([a-z_]+)"', text))
    backlog = {
        name for name in METRICS if name.startswith("workflow_") and METRICS[name]["services"] == ["workflow-worker"]
    }
    assert found | backlog == {name for name in METRICS if not name.startswith("temporal_")}


@pytest.mark.parametrize("expression", expressions())
def test_dashboards_and_alerts_name_listed_metrics_only(expression: str) -> None:
    served = {name + suffix for name, metric in METRICS.items() for suffix in _SUFFIXES[metric["type"]]}
    named = set(_NAME.findall(re.sub(r'"[^"]*"|by \([^)]*\)', "", expression))) - _LABELS
    assert named
    assert named <= served
    for name, selectors in _SELECTOR.findall(expression):
        labels = METRICS[next(m for m in METRICS if name.startswith(m))].get("labels")
        assert labels is None or {label.split("=")[0].strip("!~ ") for label in selectors.split(",")} <= set(labels)


def test_every_alert_leads_to_a_page_that_exists() -> None:
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert (ROOT / rule["annotations"]["runbook"]).is_file(), rule["alert"]
            assert rule["labels"]["severity"] in ("page", "ticket")


def test_a_name_that_is_not_listed_is_found() -> None:
    """The control of the tests above."""
    assert set(_NAME.findall("max(workflow_unheard_of) > 0")) == {"workflow_unheard_of"}
    assert ("workflows_core", "run_repaired") in logged_events()
