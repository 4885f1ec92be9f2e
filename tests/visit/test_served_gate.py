"""What the gate of servers holds tokens to where an answer may not end."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from raybench.visit.served_gate import _ends, _without_ends


def model(ids: Any, generation: Any = None) -> Any:
    config = SimpleNamespace(eos_token_id=ids)
    config.get_text_config = lambda: config
    return SimpleNamespace(config=config, generation_config=SimpleNamespace(eos_token_id=generation))


def test_a_model_ends_its_answers_by_one_token_or_several_or_none() -> None:
    assert _ends(model(2)) == [2]
    assert _ends(model([5, 2], generation=[7])) == [2, 5, 7]
    assert _ends(model(None)) == []


def test_where_no_token_ended_the_answer_none_could_have() -> None:
    """Of probabilities 0.5, 0.3 and 0.2 with the first ending the answer, 0.6 and 0.4 are left."""
    likely = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]).log()
    free = _without_ends(likely, torch.tensor([[1], [0]]), [0])
    assert free[0].exp().tolist() == pytest.approx([0.0, 0.6, 0.4])
    assert free[0, 0] == -math.inf
    assert torch.equal(free[1], likely[1])  # vLLM generates it, and goes on
    assert _without_ends(likely, torch.tensor([[1], [0]]), []) is likely
