"""The contract of the rooms sees what it is for."""

from __future__ import annotations

import grimp

from rooms import Rooms


def checked(*imports: tuple[str, str]) -> list[tuple[str, str]]:
    graph = grimp.ImportGraph()
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported)
    contract = Rooms("rooms", session_options={"root_packages": ["house"]}, contract_options={})
    return list(contract.check(graph, verbose=False).metadata["broken"])


def test_a_room_uses_its_own_modules_and_what_others_hand_out() -> None:
    assert checked(("house.a", "house.a.one"), ("house.a.one", "house.a.two"), ("house.b.one", "house.a")) == []
    assert checked(("house.b.one", "house.records"), ("house.a.one", "torch.nn.modules")) == []


def test_a_module_of_another_room_is_not_for_others() -> None:
    assert checked(("house.b.one", "house.a.two")) == [("house.b.one", "house.a.two")]
    assert checked(("house.cli", "house.a.two")) == [("house.cli", "house.a.two")]
