"""Ports and environment of embedded servers."""

from __future__ import annotations

import socket

import pytest

from workflows_cli.embedded.loopback import child_environment, free_ports


def test_a_preferred_port_is_taken_where_it_is_free() -> None:
    (wanted,) = free_ports([None])
    assert free_ports([wanted]) == [wanted]


def test_a_port_that_somebody_listens_on_is_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (found,) = free_ports([port])
    assert found not in (0, port)


def test_ports_asked_for_together_differ() -> None:
    assert len(set(free_ports([None] * 20))) == 20


def test_a_server_gets_no_proxy_and_no_setting_of_another_client(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "http_proxy", "grpc_proxy", "NO_PROXY", "TEMPORAL_ADDRESS", "PGHOST"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("KEPT", "yes")
    environment = child_environment(LC_ALL="C")
    assert "elsewhere" not in environment.values()
    assert (environment["KEPT"], environment["LC_ALL"]) == ("yes", "C")
