"""Columns of a LeRobot data set's parquet files, as numbers."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lawm.errors import LawmError

MAX_READ_BYTES = 4 << 30  # of the row groups that one episode touches
ADVICE = "Download the data set again."


def opened(path: Path, stack: ExitStack) -> Any:  # noqa: ANN401 (pyarrow has no types)
    """A parquet file, as pyarrow's ParquetFile, until the stack closes it.

    Raises:
        LawmError: It is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise LawmError(f"There is no file {path}. {ADVICE}")
    try:
        return stack.enter_context(pq.ParquetFile(path, memory_map=False))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LawmError(f"{path} cannot be read as parquet: {error}. {ADVICE}") from error


def read_groups(file: Any, path: Path, groups: list[int] | None, columns: list[str]) -> Any:  # noqa: ANN401
    """The columns of some row groups, as an arrow table.

    Args:
        file: From :func:`opened`.
        path: Of the file, for messages.
        groups: Their numbers; None for all.
        columns: Their names.

    Raises:
        LawmError: A column is missing, the file is damaged, or it is too much to be read at once.
    """
    import pyarrow as pa

    missing = sorted(set(columns) - set(file.schema_arrow.names))
    if missing:
        raise LawmError(f"{path} has no column `{missing[0]}`. {ADVICE}")
    groups = list(range(file.num_row_groups)) if groups is None else groups
    size = sum(file.metadata.row_group(i).total_byte_size for i in groups)
    if size > MAX_READ_BYTES:
        raise LawmError(
            f"{path} has {size / 2**30:.1f} GiB to be read at once; expected "
            f"{MAX_READ_BYTES >> 30} GiB at most. Write it anew with smaller files."
        )
    try:
        return file.read_row_groups(groups, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise LawmError(f"{path} cannot be read as parquet: {error}. {ADVICE}") from error


def flat(column: Any, where: str, dtype: type | None) -> NDArray[Any]:  # noqa: ANN401
    """All numbers of a column, its lists one behind the other.

    Args:
        column: Of an arrow table.
        where: For messages.
        dtype: What they must be; None for any numbers.

    Raises:
        LawmError: They are no such numbers, or some are missing.
    """
    import pyarrow as pa

    try:
        values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        while isinstance(values, pa.ExtensionArray):
            values = values.storage
        while pa.types.is_nested(values.type) and values.null_count == 0:
            values = values.flatten()
        kind = values.type
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if values.null_count or not (is_number or pa.types.is_boolean(kind)):
            raise LawmError(
                f"{where} has the type {column.type} and {values.null_count} missing values; "
                f"expected numbers. {ADVICE}"
            )
        numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    except LawmError:
        raise
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError, AttributeError) as error:
        raise LawmError(f"{where} cannot be read: {error}. {ADVICE}") from error
    if dtype is not None and numbers.dtype != dtype:
        raise LawmError(
            f"{where} has the type {numbers.dtype}; expected {np.dtype(dtype)}. {ADVICE}"
        )
    return numbers


def one_a_row(column: Any, where: str, dtype: type) -> NDArray[Any]:  # noqa: ANN401
    """A column of numbers, none of which is a list.

    Raises:
        LawmError: As :func:`flat`, or there are lists.
    """
    numbers = flat(column, where, dtype)
    if len(numbers) != len(column):
        raise LawmError(
            f"{where} has {len(numbers)} numbers in {len(column)} rows; expected one in each. "
            f"{ADVICE}"
        )
    return numbers


__all__ = ["ADVICE", "MAX_READ_BYTES", "flat", "one_a_row", "opened", "read_groups"]
