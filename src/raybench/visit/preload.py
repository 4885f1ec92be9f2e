"""Imported last by the fork server: what exists by then lasts, so no visit need look through it for garbage.

Without this each visit would spend a second on it before its first request.
"""

import gc

gc.collect()
gc.freeze()
