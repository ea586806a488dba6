"""What compose.prod-example.yaml makes for Temporal in PostgreSQL, run by PostgreSQL's own program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import yaml

from harness.workspace import ROOT
from workflows_cli.embedded import EmbeddedPostgres
from workflows_cli.embedded.binaries import postgres_installation

DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "compose/compose.prod-example.yaml").read_text(encoding="utf-8"))
SERVICES = DOCUMENT["services"]


def prepare(server: EmbeddedPostgres, script: Path, password: str) -> None:
    (config,) = SERVICES["temporal-store"]["configs"]
    script.write_text(DOCUMENT["configs"][config["source"]]["content"], encoding="utf-8")
    assert f"--file={config['target']}" in SERVICES["temporal-store"]["command"][0]
    command = [str(postgres_installation() / "bin/psql"), "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--file={script}"]
    environment = {**os.environ, "TEMPORAL_STORE_PASSWORD": password}
    run = subprocess.run(
        [*command, server.url("postgres")], env=environment, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_temporal_finds_its_role_and_both_databases_whenever_the_installation_starts(tmp_path: Path) -> None:
    given = SERVICES["temporal"]["environment"]
    with EmbeddedPostgres() as server:
        for password in ("it's-one", "another"):
            prepare(server, tmp_path / "store.sql", password)
            for database in ("temporal", "temporal_visibility"):
                url = server.url(database, user=given["POSTGRES_USER"], password=password)
                with psycopg.connect(url) as connection:
                    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version text)")
    assert given["SKIP_DB_CREATE"] == "true"
    assert SERVICES["temporal"]["depends_on"]["temporal-store"] == {"condition": "service_completed_successfully"}
