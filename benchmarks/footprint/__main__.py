"""What each program weighs, installed alone from wheels; exit code 1 above a ceiling of contracts/footprint.toml.

    uv run python -m benchmarks.footprint [--image-tag TAG --base IMAGE]

Times and memory depend on the machine: the ceilings are for two cores. The fastest start stands beside the median,
which has the ceiling: what else runs on the machine only ever adds. Image sizes are measured where buildah or docker
has the images (compose/build-images), else they are said to be not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from benchmarks.machine import this_machine  # noqa: E402
from harness.installed import PROGRAMS, Installed, build_wheels  # noqa: E402 - tests share it, and are no package
from workflows_cli.embedded import EmbeddedPostgres, EmbeddedTemporal  # noqa: E402
from workflows_cli.embedded.loopback import free_ports  # noqa: E402
from workflows_cli.migrations.upgrade import create_login, upgrade  # noqa: E402

CEILINGS: dict[str, dict[str, float]] = tomllib.loads((ROOT / "contracts/footprint.toml").read_text(encoding="utf-8"))
MEGABYTE = 1_000_000
MEBIBYTE = 1024 * 1024
# As in our images. Without the allocator's settings an idle worker has some megabytes more, with docstrings and the
# columns of tracebacks seven.
ALLOCATOR = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "65536"}
LEAN = {"PYTHONOPTIMIZE": "2", "PYTHONNODEBUGRANGES": "1"}
REPEATS = 7


def installed_mb(installed: Installed) -> float:
    """Size of all files of site-packages but compiled ones, which depend on who has run what."""
    files = (path for path in installed.site_packages.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.stat().st_size for path in files) / MEGABYTE


def settings_of(program: str) -> dict[str, str]:
    """Of the interpreter, as in the program's image."""
    return {**ALLOCATOR, **(LEAN if program.endswith("-worker") else {})}


def describe(installed: Installed) -> tuple[list[float], float]:
    """Seconds of each `describe` and the peak memory of one, in MiB; with the settings of its image."""
    # Of the command line what an operator waits for: one group of commands with all that it needs.
    is_service = installed.program != "workflows-cli"
    command = [installed.program, "describe"] if is_service else ["workflows", "runs", "--help"]
    options = settings_of(installed.program)
    installed.run(*command, environment=options)  # compiles, as an image is compiled when it is built
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        assert installed.run(*command, environment=options).returncode == 0
        seconds.append(time.perf_counter() - begun)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        installed.run(*command, environment=options)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        os.write(writing, str(peak).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        peak_bytes = int(stream.read())
    os.waitpid(child, 0)
    return seconds, peak_bytes / MEBIBYTE


def idle_mib(installed: Installed, environment: dict[str, str], directory: Path) -> float:
    """Resident memory once the service has been ready for ten seconds, in MiB."""
    port = free_ports([None])[0]
    with (directory / f"{installed.program}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [str(installed.directory / "bin" / installed.program), "run"],
            env={
                **environment,
                **settings_of(installed.program),
                "PATH": os.environ["PATH"],
                "PORT": str(port),
                "WORKFLOW_SERVER_PORT": "0",
            },
            stdout=log,
            stderr=log,
        )
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 60
        while True:
            try:
                opener.open(f"http://127.0.0.1:{port}/readyz", timeout=2)
                break
            except OSError:
                assert time.monotonic() < deadline, (directory / f"{installed.program}.log").read_text(encoding="utf-8")
                time.sleep(0.2)
        time.sleep(10)
        found = subprocess.check_output(["ps", "-o", "rss=", "-p", str(process.pid)], text=True)
        return int(found) * 1024 / MEBIBYTE
    finally:
        process.terminate()
        process.wait(60)


def image_mb(program: str, tag: str, base: str) -> float | None:
    """Layers on top of the base, in MB; None where there is no such image."""

    def stored(image: str) -> float | None:
        if (
            shutil.which("docker")
            and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
        ):
            shown = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=False)
            return None if shown.returncode else json.loads(shown.stdout)[0]["Size"] / MEGABYTE
        if not shutil.which("buildah"):
            return None
        shown = subprocess.run(["buildah", "images", "--json", image], capture_output=True, text=True, check=False)
        if shown.returncode:
            return None
        number, unit = json.loads(shown.stdout)[0]["size"].split()
        return float(number) * {"KB": 1e-3, "MB": 1.0, "GB": 1e3}[unit]

    whole, under = stored(f"localhost/{program}:{tag}"), stored(base)
    return None if whole is None or under is None else whole - under


def at_rest(installed: Installed, options: argparse.Namespace) -> dict[str, float | None]:
    """What can be measured without a server."""
    seconds, peak = describe(installed)
    return {
        "distributions": len(installed.distributions()),
        "installed_mb": installed_mb(installed),
        "describe_seconds": statistics.median(seconds),
        "fastest_seconds": min(seconds),
        "describe_mib": peak,
        "image_mb": image_mb(installed.program, options.image_tag, options.base),
    }


def compare(program: str, figures: Mapping[str, float | None]) -> int:
    """Prints each figure beside its ceiling; returns how many are above."""
    above = 0
    for figure, value in figures.items():
        ceiling = CEILINGS[program].get(figure)
        shown = "not measured" if value is None else f"{value:.2f}"
        verdict = "" if value is None or ceiling is None or value <= ceiling else "  ABOVE"
        above += bool(verdict)
        limit = "" if ceiling is None else f"{ceiling:g}"
        print(f"{program:<18}{figure:<18}{shown:>12}{limit:>10}{verdict}", flush=True)
    return above


def main() -> int:
    """Measures and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-tag", default="dev")
    parser.add_argument("--base", default="localhost/workflows-base", help="base image of the images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="footprint-") as scratch:
        directory = Path(scratch)
        build_wheels(directory / "wheels")
        programs = {name: Installed.make(name, directory / "wheels", directory / name) for name in PROGRAMS}
        print(this_machine())
        print(f"{'program':<18}{'figure':<18}{'measured':>12}{'ceiling':>10}")
        # Starts first, while no server of ours takes a share of the processor.
        above = sum(compare(name, at_rest(installed, options)) for name, installed in programs.items())
        with EmbeddedPostgres() as postgres, EmbeddedTemporal() as temporal:
            upgrade(postgres.url())
            create_login(postgres.url(), "footprint", "footprint")
            environment = {
                "TEMPORAL_ADDRESS": temporal.address,
                "TEMPORAL_NAMESPACE": temporal.namespace,
                "DB_HOST": postgres.host,
                "DB_PORT": str(postgres.port),
                "DB_NAME_SERVER": postgres.database,
                "DB_USER_SERVER": "footprint",
                "DB_PASSWORD_SERVER": "footprint",
                "WORKFLOW_SERVER_PORT": "0",
            }
            for name, installed in programs.items():
                if name != "workflows-cli":
                    above += compare(name, {"idle_mib": idle_mib(installed, environment, directory)})
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
