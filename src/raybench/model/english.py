"""Text of a stated length, for servers that are asked in text: common English words."""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np

_TEXT: Final = """
the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which
you were her all she there would their we him been has when who will more no if out so said what up its about
into than can only other new some could time these two may then do first any my now such like our over man me
even most made after also did many before must through back years where much your way well down should because
each just those people how too little state good very make world still own see men work long get here between
both life being under never day same another know while last might us great old year off come since against go
came right used take three states few house use during without again place around home small found went say part
once general high upon school every number hand least course fact night point line next set open early group
help turn start power known form given water often name keep let side order large move read second until light
question far city want best end why
"""
_WORDS: Final = tuple(_TEXT.split())
"""Each, with the space before it or without, is one token to the tokenizers that people use."""


def words(task: str, index: int, tokens: int) -> str:
    """``tokens`` words, drawn from task and index alone: about as many tokens; a server says how many it counted."""
    rng = np.random.default_rng([zlib.crc32(task.encode()), index])
    return " ".join(_WORDS[place] for place in rng.integers(0, len(_WORDS), tokens))
