"""The import contract of the rooms, which import-linter holds: see ``tool.importlinter`` in pyproject.toml."""

from __future__ import annotations

import grimp
from importlinter import Contract, ContractCheck, output


class Rooms(Contract):
    """A package's modules are imported by that package only; others import what its ``__init__`` hands out."""

    type_name = "rooms"

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        (root,) = self.session_options["root_packages"]
        inner = [name for name in graph.modules if name.startswith(f"{root}.") and name.count(".") > 1]
        broken = sorted(
            (importer, imported)
            for imported in inner
            for importer in graph.find_modules_that_directly_import(imported)
            if importer.split(".")[:2] != imported.split(".")[:2]
        )
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported in check.metadata["broken"]:
            package = ".".join(imported.split(".")[:2])
            output.print_error(f"{importer} imports {imported}: import it from {package}, which may hand it out.")
