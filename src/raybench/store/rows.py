"""What must hold for the rows of a table before they are kept, and again whenever they are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raybench.records import FailureKind, Phase, Place, StepName
from raybench.schemas import SCHEMA_VERSION, SCHEMAS, schema_of
from raybench.store.generation import wrong_steps
from raybench.store.manifest import VisitKey
from raybench.store.storage import StoreError
from raybench.store.texts import number_texts

_COUNTED: Final = tuple(field.name for field in SCHEMAS["counts"] if field.type == pa.int64())
_CALIBRATED: Final = tuple(field.name for field in SCHEMAS["calibrations"] if field.type == pa.float64())
_SEEN: Final = ("processor_ns", "steal_ns", "others_cpu_ns", "throttled_ns", "swapped_bytes", "gpu_processes")
# Nanoseconds. A request takes time; a step that a visit has no need of takes none.
_LEAST: Final[dict[str, dict[str, int]]] = {
    "samples": {"started_ns": 0, "host_ns": 1, "wall_ns": 1, "device_ns": 1, "switch_ns": 0, "batch": 1}
    | {"output_tokens": 1, "prefill_host_ns": 1, "prefill_wall_ns": 1, "prefill_device_ns": 1}
    | {"prompt_tokens": 1, "cached_tokens": 0},
    "visits": {"fork_ns": 0, "load_ns": 0, "warmup_ns": 0, "timing_ns": 0, "total_ns": 1} | dict.fromkeys(_SEEN, 0),
    "loads": {"load_ns": 0, "adapter_load_ns": 0, "merge_ns": 0, "adapter_effect": 0}
    | {"argmax_agreement": 0, "kl_divergence": 0, "untied_bytes": 0, "form_ns": 0, "compile_ns": 0}
    | {"compiled_shapes": 1, "adapter_add_ns": 0, "adapter_remove_ns": 0},
    "counts": {"tokens": 1} | dict.fromkeys(_COUNTED, 0),
    "calibrations": dict.fromkeys(_CALIBRATED, 0),
}
_MOST: Final[dict[str, dict[str, int]]] = {"loads": {"argmax_agreement": 1}}
_FINITE: Final = {
    "loads": ("gate_error", "gate_tolerance", "adapter_effect", "argmax_agreement", "kl_divergence"),
    "calibrations": _CALIBRATED,
}
_CHOICES: Final = {
    "samples": ("phase", get_args(Phase)),
    "failures": ("kind", get_args(FailureKind)),
    "attempts": ("kind", get_args(FailureKind)),
    "counts": ("step", get_args(StepName)),
    "calibrations": ("place", get_args(Place)),
}
UNFINISHED: Final = ("failures", "attempts")
"""Tables whose rows need not belong to a finished visit."""
_FILE: Final = "file"
_PAGE_BITS: Final = 10
_MARKS_A_ROW: Final = 32
"""Bytes of marks for a row at most: where rows lie farther apart they are sorted."""
_UNIQUE: Final = {
    "samples": ("block", "configuration", "round", "task", "request"),
    "visits": ("block", "round"),
    "loads": ("block", "configuration", "round"),
    "counts": ("block", "configuration", "round", "task", "request", "step"),
    "calibrations": ("block", "round", "place"),
}


def check_columns(name: str, schema: pa.Schema, where: str, version: int = SCHEMA_VERSION) -> None:
    """Raise `StoreError`, beginning with ``where``, unless ``schema`` has the columns of table ``name`` in ``version``.

    Nothing is cast: a float is never taken for a count of nanoseconds, so neither NaN nor infinity is.
    """
    expected, found = schema_of(name, version), {field.name: field for field in schema}
    for field in expected:
        if (actual := found.get(field.name)) is None or actual != field:
            raise StoreError(f"{where}: column {field.name} should be {_type(field)}, found {_type(actual)}")
    if schema.names != expected.names:
        found_names = ", ".join(schema.names)
        raise StoreError(f"{where}: columns should be {', '.join(expected.names)}, found {found_names}")


def check_nulls(name: str, table: pa.Table, where: str) -> None:
    """Raise `StoreError`, beginning with ``where``, for a null where table ``name`` has none."""
    for field in SCHEMAS[name]:
        if not field.nullable and table[field.name].null_count:
            index = pc.index(pc.is_null(table[field.name]), True).as_py()
            visit = table["visit"][index]
            raise StoreError(f"{where}: visit {visit}, row {index}: {field.name} is null; measure again")


def check_rows(name: str, table: pa.Table, visits: Sequence[VisitKey], where: str) -> None:
    """Raise `StoreError`, beginning with ``where``, for a row of table ``name`` that cannot be true.

    That is a value out of its range, a row that occurs twice among those that are counted, and, except in
    ``failures`` and ``attempts``, a row of a visit that is not among ``visits``.
    """
    table = number_texts(table)
    _check_values(name, table, where)
    if name not in UNFINISHED:
        listed = {(visit.visit, visit.block, visit.round) for visit in visits}
        for visit, block, round_index in sorted(_distinct(table, ("visit", "block", "round")) - listed):
            raise StoreError(f"{where}: visit {visit} (block {block}, round {round_index}) is not in its commit")
    _check_repeats(name, table, where)


def _check_values(name: str, table: pa.Table, where: str) -> None:
    for column, valid, wanted in _rules(name, table):
        if (index := pc.index(valid, False).as_py()) >= 0:  # null is neither
            raise StoreError(
                f"{where}: visit {table['visit'][index]}, row {index}: {column} is {table[column][index]}, "
                f"should be {wanted}; measure again"
            )
    if name == "samples" and (wrong := wrong_steps(table)) is not None:
        raise StoreError(f"{where}: visit {table['visit'][wrong.row]}, row {wrong.row}: {wrong.what}; measure again")


def _check_repeats(name: str, table: pa.Table, where: str) -> None:
    if name not in _UNIQUE:
        return
    columns = list(_UNIQUE[name])
    if _are_unique(table, columns, _timed(table) if name == "samples" else None):
        return
    counted = table.select(columns)
    if name == "samples":
        counted = counted.filter(pc.equal(table["phase"], pa.scalar("timed")))
    counts = counted.group_by(columns, use_threads=False).aggregate([([], "count_all")])
    for row in counts.filter(pc.greater(counts["count_all"], pa.scalar(1))).slice(0, 1).to_pylist():
        times = row.pop("count_all")
        key = ", ".join(f"{column} {value}" for column, value in row.items())
        raise StoreError(f"{where}: {times} rows for {key}, should be 1; measure again")


class Committed(NamedTuple):
    """The rows of a table's file, the visits of the entry that lists it, and where it is."""

    name: str
    table: pa.Table
    visits: Sequence[VisitKey]
    where: str


def check_all_rows(files: Sequence[Committed]) -> None:
    """`check_rows` for each of ``files``, in order. All rows of a table are looked at at once, unless there is a fault.

    What is there twice in different files is no fault.
    """
    by_table: dict[str, list[Committed]] = {}
    for file in files:
        by_table.setdefault(file.name, []).append(file)
    if not all(_are_sound(name, of_table) for name, of_table in by_table.items()):
        for file in files:
            check_rows(*file)


def _are_sound(name: str, files: Sequence[Committed]) -> bool:
    """Whether nothing is wrong with the rows of several files of one table; False too where that is not known."""
    numbers = np.repeat(np.arange(len(files)), [file.table.num_rows for file in files])
    # Rows and visits with the number of their file: a row of another file's visit is a fault.
    rows = number_texts(pa.concat_tables([file.table for file in files]).append_column(_FILE, pa.array(numbers)))
    if name not in UNFINISHED:
        listed: dict[int, set[tuple[str, str, int]]] = {}  # of an entry, which may have hundreds of the files
        for file in files:
            if id(file.visits) not in listed:
                listed[id(file.visits)] = {(v.visit, v.block, v.round) for v in file.visits}
        found = _distinct(rows, (_FILE, "visit", "block", "round"))
        if not all((visit, block, place) in listed[id(files[number].visits)] for number, visit, block, place in found):
            return False
    try:
        _check_values(name, rows, "")
        _check_repeats(name, rows, "")
    except StoreError:
        return False
    return True


def without_keys(table: pa.Table, keys: Collection[tuple[str, int]]) -> pa.Table:
    """``table`` without the rows whose (block, round) is among ``keys``."""
    for block, round_index in _distinct(table, ("block", "round")).intersection(keys):
        stale = pc.and_(pc.equal(table["block"], pa.scalar(block)), pc.equal(table["round"], pa.scalar(round_index)))
        table = table.filter(pc.invert(stale))
    return table


def _rules(name: str, table: pa.Table) -> Iterator[tuple[str, Any, str]]:
    for column, least in _LEAST.get(name, {}).items():
        if table[column].null_count == table.num_rows:
            continue
        if pc.min_max(table[column]).as_py()["min"] < least:  # which makes no column
            yield column, pc.greater_equal(table[column], pa.scalar(least)), f"at least {least}"
    for column, most in _MOST.get(name, {}).items():
        yield column, pc.less_equal(table[column], pa.scalar(most)), f"at most {most}"
    for column in _FINITE.get(name, ()):
        yield column, pc.is_finite(table[column]), "finite"
    if name in _CHOICES:
        column, allowed = _CHOICES[name]
        if not set(pc.unique(table[column]).to_pylist()) <= set(allowed):
            yield (
                column,
                pc.is_in(table[column].cast(pa.string()), value_set=pa.array(allowed)),
                f"one of {', '.join(allowed)}",
            )


def _timed(samples: pa.Table) -> NDArray[np.bool_]:
    """Which rows are counted; their texts are numbers."""
    phases = samples["phase"].chunks  # of one dictionary
    timed = pc.index(phases[0].dictionary, pa.scalar("timed")).as_py() if phases else -1
    return np.concatenate([np.zeros(0, dtype=bool), *(chunk.indices.to_numpy() == timed for chunk in phases)])


def _are_unique(table: pa.Table, columns: Sequence[str], counted: NDArray[np.bool_] | None = None) -> bool:
    """Whether no two rows, of those ``counted``, have the same in ``columns``; False too where only counting tells."""
    numbers = _numbers(table, columns)
    if numbers is None:
        return False
    if counted is not None and not counted.all():
        numbers = numbers[counted]
    # A mark for each number where they lie close enough, and nothing sorted.
    most = _MARKS_A_ROW * numbers.size
    closer = numbers if numbers.size == 0 or numbers.max() < most else _closer(numbers, most)
    if closer is None:
        return bool(np.unique(numbers).size == numbers.size)
    marks = np.zeros(closer.max(initial=0) + 1, dtype=bool)
    marks[closer] = True
    return int(np.count_nonzero(marks)) == numbers.size


def _closer(numbers: NDArray[np.int64], most: int) -> NDArray[np.int64] | None:
    """``numbers``, none below 0, without the pages of them in which there is none; None if not all are below ``most``.

    What is unique stays so. Requests count up, so that few of many pages are in use.
    """
    pages = numbers >> _PAGE_BITS
    if pages.max() >= most:
        return None
    is_used = np.zeros(pages.max() + 1, dtype=bool)
    is_used[pages] = True
    used = np.flatnonzero(is_used)
    if used.size << _PAGE_BITS > most:
        return None
    place = np.empty(is_used.size, dtype=np.int64)
    place[used] = np.arange(used.size) << _PAGE_BITS
    closer: NDArray[np.int64] = place[pages] + (numbers & ((1 << _PAGE_BITS) - 1))
    return closer


def _distinct(table: pa.Table, columns: Sequence[str]) -> set[tuple[Any, ...]]:
    numbers = _numbers(table, columns)
    if numbers is None:
        found = table.group_by(list(columns), use_threads=False).aggregate([])
    else:
        starts = _run_starts(numbers)  # rows that are alike follow each other as a rule
        first = starts[np.unique(numbers[starts], return_index=True)[1]]
        found = table.select(list(columns)).take(pa.array(first))
    return set(zip(*(found[column].to_pylist() for column in columns), strict=True))


def _run_starts(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where ``numbers`` differ from the one before, the first included."""
    changes = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    return np.concatenate([np.zeros(min(numbers.size, 1), dtype=np.int64), changes])


def _numbers(table: pa.Table, columns: Sequence[str]) -> NDArray[np.int64] | None:
    """A number for each row, the same for those that have the same in ``columns`` (texts and integers) and no others.

    None where there is a null, or where 64 bits do not hold the numbers. Many times as fast as grouping.
    """
    numbers = np.zeros(table.num_rows, dtype=np.int64)
    size = 1
    for column in columns:
        values = table[column]
        if values.null_count:
            return None
        if pa.types.is_string(values.type):
            values = values.dictionary_encode()
        if pa.types.is_dictionary(values.type):
            encoded = values.unify_dictionaries().chunks  # one for all
            least, count = 0, len(encoded[0].dictionary) if encoded else 0
            parts = [chunk.indices for chunk in encoded]
        else:
            least, most = pc.min_max(values).as_py().values()
            count = most - least + 1 if len(values) else 0
            parts = values.chunks
        if count < 2:
            continue
        size *= count
        if size > np.iinfo(np.int64).max:
            return None
        numbers *= count
        start = 0
        for part in parts:  # in place: new arrays cost more than what is done with them
            numbers[start : (start := start + len(part))] += part.to_numpy()
        numbers -= least
    return numbers


def _type(field: pa.Field[Any] | None) -> str:
    if field is None:
        return "nothing"
    return f"{field.type}{'' if field.nullable else ' not null'}"
