"""Where a model's files are: in a folder here, or on the Hugging Face hub behind the libraries' own cache."""

from __future__ import annotations

from pathlib import Path

from raybench.plan import HUB_ID
from raybench.records import InputError

_ANSWER_WITHIN_S = 5.0


class NoSuchFileError(InputError):
    """The repository is there, and the file is not."""


class ModelFiles:
    """Finds single files of folders and of hub repositories, those of the hub in the libraries' own cache first.

    A hub that does not answer is asked once: a plan may name hundreds of adapters.
    """

    def __init__(self) -> None:
        self._unreachable: str | None = None

    def path(self, location: str, name: str) -> Path:
        """The file ``name`` of the folder or hub id ``location``; in a folder it may be absent.

        Raises InputError, within seconds, where there is neither such a folder nor such a file on the hub.
        """
        if _is_folder(location):
            return Path(location, name)
        if not HUB_ID.fullmatch(location):
            raise InputError(f"{location}: no such folder{_inside_of(location)}")
        if (found := self.at_hand(location, name)) is not None:
            return found
        return self._fetched(location, name)

    def at_hand(self, location: str, name: str) -> Path | None:
        """The file ``name`` of ``location`` if it is on this machine; nothing is fetched."""
        if _is_folder(location):
            path = Path(location, name)
            return path if path.is_file() else None
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(location, name)
        return Path(found) if isinstance(found, str) else None

    def _fetched(self, location: str, name: str) -> Path:
        from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_download, hf_hub_url

        if constants.is_offline_mode():
            self._unreachable = "it is not in the cache, and HF_HUB_OFFLINE is set"
        reason = self._unreachable
        if reason is None:
            try:
                # hf_hub_download alone tries a hub that cannot be reached for 23 seconds.
                get_hf_file_metadata(hf_hub_url(location, name), timeout=_ANSWER_WITHIN_S)
                return Path(hf_hub_download(location, name))
            except errors.GatedRepoError:
                reason = "its repository is gated: log in, or ask for access"
            except errors.RepositoryNotFoundError:
                reason = "the hub has no such repository, or not for you"
            except errors.EntryNotFoundError:
                raise NoSuchFileError(f"{location}: the hub's repository has no {name}") from None
            except errors.HfHubHTTPError as error:
                reason = " ".join(str(error).split())[:200]
            except Exception as error:  # noqa: BLE001  whichever HTTP library the hub's client has
                reason = self._unreachable = f"the hub cannot be reached: {' '.join(str(error).split())[:200]}"
        raise InputError(f"{location}: no such folder, and as a hub id: {reason}")


def _inside_of(location: str) -> str:
    """The rest of the sentence where ``location`` may mean a folder of a hub repository."""
    parts = location.split("/", 2)
    repository = "/".join(parts[:2])
    if len(parts) < 3 or not HUB_ID.fullmatch(repository):
        return ""
    return (
        f", nor a hub id (owner/name); of a repository's folder give a copy: hf download {repository} --include "
        f"'{parts[2].strip('/')}/*' --local-dir DIR"
    )


def _is_folder(location: str) -> bool:
    try:
        return Path(location).is_dir()
    except (OSError, ValueError):  # too long, or with a null byte
        return False
