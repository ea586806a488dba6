"""The command line of a service: what it prints and with which code it ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest

from service_host.command import Contents, FurtherCommand, ServiceCommand, Verdict, execute
from service_host.errors import StartProblem, StartRefused
from service_host.settings import HealthSettings
from service_host.settings import load_settings as load_listening

# A service of the ownership file whose distribution is certainly installed with this one.
SERVICE = "temporal-worker"


async def run(settings: str) -> int:
    raise AssertionError("not in this test")


def command(
    *, refused: StartRefused | None = None, verdicts: Sequence[Verdict] = (), further: int = 0, port: int = 0
) -> ServiceCommand[str]:
    def load_settings() -> str:
        if refused is not None:
            raise refused
        return "settings"

    async def check(settings: str) -> Sequence[Verdict]:
        return verdicts

    def do_further(settings: str) -> int:
        return further

    return ServiceCommand(
        service=SERVICE,
        purpose="For tests.",
        load_settings=load_settings,
        read_listening=lambda: load_listening(HealthSettings, {"PORT": str(port)}),
        contents=lambda: Contents(workflows=["b", "a"], activities=["c"], actions=["d"]),
        run=run,
        check=check,
        further={"mend": FurtherCommand("mend it", do_further)},
    )


REFUSED = StartRefused([StartProblem("A_CODE", "ONE", "wrong"), StartProblem("B_CODE", "TWO", "wrong too")])


def test_describe_needs_no_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(command(refused=REFUSED), ["describe"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {
        "service",
        "version",
        "queuesOwned",
        "queuesRefused",
        "workflows",
        "activities",
        "actions",
    }
    assert printed["workflows"] == ["a", "b"]
    assert "workflow-runtime-v2" in printed["queuesRefused"]
    assert "alga-jobs" in printed["queuesOwned"]


@pytest.mark.parametrize("arguments", [["run"], ["check"], ["check", "--offline"], ["mend"]])
def test_a_refused_start_lists_everything_and_is_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert execute(command(refused=REFUSED), arguments) == 2
    error = capsys.readouterr().err
    assert "A_CODE ONE: wrong" in error
    assert "B_CODE TWO: wrong too" in error
    assert "Traceback" not in error


def test_a_port_that_is_taken_is_listed_beside_what_else_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        assert execute(command(refused=REFUSED, port=taken), ["run"]) == 2
        error = capsys.readouterr().err
        assert "A_CODE ONE: wrong" in error
        assert f"PORT_NOT_AVAILABLE PORT: cannot listen on 127.0.0.1:{taken}" in error
        assert execute(command(port=taken), ["check", "--offline"]) == 0, "a process that runs has its port"


def test_check_prints_each_verdict_and_fails_if_one_fails(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = [Verdict("temporal", True, "answers"), Verdict("postgres", False, "refused")]
    assert execute(command(verdicts=verdicts), ["check"]) == 1
    printed = capsys.readouterr().out
    assert "ok     temporal: answers" in printed
    assert "FAILED postgres: refused" in printed
    assert execute(command(verdicts=verdicts[:1]), ["check"]) == 0


def test_check_offline_asks_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(command(verdicts=[Verdict("temporal", False, "away")]), ["check", "--offline"]) == 0
    assert "temporal:" not in capsys.readouterr().out


def test_a_further_command_gives_the_exit_code() -> None:
    assert execute(command(further=7), ["mend"]) == 7


@pytest.mark.parametrize("arguments", [[], ["walk"], ["check", "--hard"]])
def test_wrong_usage_is_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        execute(command(), arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_leave_flushes_and_runs_no_finaliser() -> None:
    script = (
        "import atexit; from service_host.leaving import leave;"
        " atexit.register(print, 'finaliser'); print('flushed'); leave(3)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (3, "flushed\n")
