"""Raw samples kept: rows, commits and their manifest, in a folder or on an object store."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.store.description import ConfigurationOfRun, Description, PlanOfRun
    from raybench.store.leaves import differing
    from raybench.store.location import DEFAULT_RESULTS, Location, is_run_id, parse_location
    from raybench.store.no_pandas import look_for_no_pandas
    from raybench.store.redaction import redact_uris
    from raybench.store.removal import Removal
    from raybench.store.results import check_writable, is_run, open_storage, validate_run_id
    from raybench.store.run_list import ListedRun, listed_runs, newest_run
    from raybench.store.storage import DESCRIPTION, exists_already
    from raybench.store.store import Entry, RunStore, StoreError, VisitKey, read_description
    from raybench.store.texts import number_texts
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "DEFAULT_RESULTS",
    "DESCRIPTION",
    "ConfigurationOfRun",
    "Description",
    "Entry",
    "ListedRun",
    "Location",
    "PlanOfRun",
    "Removal",
    "RunStore",
    "StoreError",
    "VisitKey",
    "check_writable",
    "differing",
    "exists_already",
    "is_run",
    "is_run_id",
    "listed_runs",
    "look_for_no_pandas",
    "newest_run",
    "number_texts",
    "open_storage",
    "parse_location",
    "read_description",
    "redact_uris",
    "validate_run_id",
]
