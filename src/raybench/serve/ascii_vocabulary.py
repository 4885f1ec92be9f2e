"""A tokenizer for a model that has none: each token is a word of its own, in ASCII.

Engines do not start without one. What is measured is asked for in token ids; of the answer each token is then text by
itself, where tokens of a part of a character are held back by servers that stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_ROLES: Final = ("bos", "eos", "pad")


def special_tokens(config: Mapping[str, Any], size: int) -> dict[str, int]:
    """By role (``bos``, ``eos``, ``pad``) the token that a model's configuration has for it, where it has one."""
    found = {}
    for role in _ROLES:
        token = config.get(f"{role}_token_id")
        if isinstance(token, list) and token:
            token = token[0]
        if isinstance(token, int) and 0 <= token < size:
            found[role] = token
    return found


def unknown_token(special: Mapping[str, int]) -> int:
    """The token of words that there are not: the padding's, or the first that ends or begins nothing."""
    taken = {special.get("bos"), special.get("eos")}
    pad = special.get("pad", 0)
    return pad if pad not in taken else min({0, 1, 2} - taken)


def words(config: Mapping[str, Any], size: int) -> list[str]:
    """The word of each token: ``t17``, and ``<bos>`` and the like for special ones."""
    made = [f"t{token}" for token in range(size)]
    for role, token in reversed(special_tokens(config, size).items()):
        made[token] = f"<{role}>"
    return made


def write_tokenizer(config: Mapping[str, Any], size: int, folder: Path) -> None:
    """Write a tokenizer of ``size`` tokens, as transformers reads it: texts are its words, with spaces between."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made, roles = words(config, size), special_tokens(config, size)
    unknown = made[unknown_token(roles)]
    tokenizer = Tokenizer(models.WordLevel({word: token for token, word in enumerate(made)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {f"{role}_token": made[token] for role, token in roles.items()}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=unknown, **special).save_pretrained(folder)
