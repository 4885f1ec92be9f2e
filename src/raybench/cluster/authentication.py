"""Whether a cluster wants a token that this process does not send: Ray itself would try for 20 s to say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from raybench.records import InputError

_ANSWER_S: Final = 5.0
_ASKED: Final = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_REMEDY: Final = (
    "copy the head's ~/.ray/auth_token (mode 600) to this machine, or name it by RAY_AUTH_TOKEN_PATH, and set "
    "RAY_AUTH_MODE=token"
)


def check_token(address: str, environment: Mapping[str, str]) -> None:
    """Raises InputError where the cluster at ``address`` refuses what this process would send, with what to do.

    A cluster that cannot be asked so is left to Ray.
    """
    if not _is_refused(address, None):
        return
    mode = environment.get("RAY_AUTH_MODE", "")
    if mode not in ("", "disabled", "token"):  # another way than by a token of Ray's own
        return
    wants = f"Ray cluster at {address} wants a token"
    if mode != "token":
        raise InputError(f"{wants}, and RAY_AUTH_MODE is {mode or 'not set'} here: {_REMEDY}")
    token = _own_token(environment)
    if token is None:
        raise InputError(f"{wants}, and there is none here: {_REMEDY}")
    if _is_refused(address, token):
        raise InputError(f"{wants}, and refuses the one that is here: {_REMEDY}")


def _is_refused(address: str, token: str | None) -> bool:
    import grpc

    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    try:
        with grpc.insecure_channel(address) as channel:
            channel.unary_unary(_ASKED)(b"", timeout=_ANSWER_S, metadata=metadata)
    except grpc.RpcError as error:
        return bool(error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED))
    return False


def _own_token(environment: Mapping[str, str]) -> str | None:
    """Where Ray looks for it, in its order; None where there is none that can be sent."""
    token = environment.get("RAY_AUTH_TOKEN", "").strip()
    if not token:
        named = environment.get("RAY_AUTH_TOKEN_PATH", "")
        file = Path(named) if named else Path.home() / ".ray" / "auth_token"
        try:
            token = file.read_text().strip()
        except (OSError, ValueError):
            return None
    return token if token.isascii() and token.isprintable() and token else None
