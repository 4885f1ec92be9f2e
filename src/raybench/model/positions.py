"""How many tokens a row may have by a model's configuration."""

from __future__ import annotations

from typing import Any, Final

_AFTER_PADDING: Final = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
"""Model types whose first position is the one after the padding token's id: 514 positions take 512 tokens."""


def positions_left(model_type: str, count: int | None, pad_token_id: Any) -> int | None:
    """Tokens that a model with ``count`` positions takes; None where none is left, or ``count`` is None."""
    if model_type in _AFTER_PADDING and count is not None and isinstance(pad_token_id, int):
        count -= pad_token_id + 1
    return count if count is not None and count > 0 else None


def positions_of(model: Any) -> int | None:
    """Tokens of a row that a loaded model takes, by its configuration; None where that gives no number."""
    config = model.config.get_text_config()
    count = getattr(config, "max_position_embeddings", None)  # GPT-2's own n_positions goes by this name, too
    return positions_left(config.model_type, count, config.pad_token_id)
