"""An import contract: each wheel imports only distributions that its own pyproject.toml names.

One environment holds all wheels during development, so an undeclared import works there and fails where the wheel is
installed alone.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.application.contract_utils import render_broken_contract_guidance

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class DeclaredDependenciesContract(Contract):
    """The contract type.

    Options: `workspace` is the path of the pyproject.toml that lists the members, from the working directory. A
    distribution's import name is its name with dashes as underscores; `import_names` lists the others, each as
    `distribution: import_name`.
    """

    type_name = "declared_dependencies"

    workspace = fields.StringField()
    import_names = fields.ListField(subfield=fields.StringField(), required=False, default=[])
    broken_contract_guidance = fields.TextField(required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: FBT001 - the interface of contract types
        """Compare each root package's direct imports with its wheel's declared dependencies."""
        pairs = (str(entry).split(":") for entry in self.import_names)  # type: ignore[attr-defined]
        renamed = {distribution.strip(): name.strip() for distribution, name in pairs}
        declared = declared_by_package(Path(str(self.workspace)), renamed)
        undeclared = []
        for package in sorted(self.session_options["root_packages"]):
            allowed = declared[package] | {package}
            for importer in sorted({package} | graph.find_descendants(package)):
                for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                    top = imported.partition(".")[0]
                    if top in allowed or top in sys.stdlib_module_names:
                        continue
                    lines = graph.get_import_details(importer=importer, imported=imported)
                    undeclared.append((importer, imported, sorted(line["line_number"] for line in lines)))
        return ContractCheck(kept=not undeclared, metadata={"undeclared": undeclared})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each undeclared import with its lines."""
        for importer, imported, lines in check.metadata["undeclared"]:
            where = ", ".join(map(str, lines))
            output.print_error(f"- {importer} -> {imported} (l.{where}): not a declared dependency", bold=False)
        output.new_line()
        render_broken_contract_guidance(self.broken_contract_guidance)  # type: ignore[arg-type]


def declared_by_package(workspace: Path, renamed: Mapping[str, str]) -> dict[str, set[str]]:
    """Import name of each workspace member, and the import names of what its wheel may use, extras included."""

    def import_name(requirement: str) -> str:
        name = distribution_name(requirement)
        return renamed.get(name, name.replace("-", "_"))

    members = tomllib.loads(workspace.read_text(encoding="utf-8"))["tool"]["uv"]["workspace"]["members"]
    declared = {}
    for member in members:
        document = tomllib.loads((workspace.parent / member / "pyproject.toml").read_text(encoding="utf-8"))
        project: dict[str, Any] = document["project"]
        requirements = [*project.get("dependencies", ())]
        for extra in project.get("optional-dependencies", {}).values():
            requirements += extra
        declared[import_name(project["name"])] = {import_name(requirement) for requirement in requirements}
    return declared


def distribution_name(requirement: str) -> str:
    """The normalised name in a requirement such as `psycopg[binary]>=3.3`."""
    match = _NAME.match(requirement)
    if match is None:
        raise ValueError(f"not a requirement: {requirement!r}")
    return re.sub(r"[-_.]+", "-", match.group()).lower()
