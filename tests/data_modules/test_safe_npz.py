from __future__ import annotations

import contextlib
import gc
import io
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from lawm.data_modules import safe_npz
from lawm.data_modules.safe_npz import SafeNpz
from lawm.errors import LawmError


def npy_bytes(values: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """A .npy file, whose header may lie about the shape."""
    buffer = io.BytesIO()
    header = npy.header_data_from_array_1_0(values)
    npy.write_array_header_1_0(buffer, header | {"shape": shape or values.shape})
    return buffer.getvalue() + values.tobytes()


BRACKETS = b"\x93NUMPY\x01\x00" + struct.pack("<H", 5000) + b"(" * 5000


def archive(path: Path, data: bytes, *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x.npy", data)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "values",
    [
        np.arange(24.0).reshape(4, 3, 2),
        np.asfortranarray(np.arange(12.0).reshape(4, 3)),
        np.arange(5, dtype=">i4"),
        np.zeros((0, 3)),
        np.array(3.5),
        np.array(["a", "bc"]),
    ],
    ids=["3-d", "Fortran", "big-endian", "empty", "scalar", "text"],
)
def test_arrays_come_back(tmp_path: Path, save: object, values: np.ndarray) -> None:
    path = tmp_path / "a.npz"
    save(path, x=values)  # type: ignore[operator]
    with SafeNpz(path) as file:
        assert file.names == ["x"]
        assert file.header("x") == (values.shape, values.dtype)
        np.testing.assert_array_equal(file.array("x"), values)
        if values.ndim:
            with file.rows("x") as rows:
                parts = [rows.read(1) for _ in range(len(rows))]
            np.testing.assert_array_equal(np.concatenate([values[:0], *parts]), values)


def test_arrays_are_read_side_by_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(50, 1000)), rng.normal(size=(50, 10))
    np.savez_compressed(tmp_path / "a.npz", first=first, second=second)
    with SafeNpz(tmp_path / "a.npz") as file, file.rows("first") as a, file.rows("second") as b:
        for start in range(0, 50, 5):
            np.testing.assert_array_equal(a.read(5), first[start : start + 5])
            np.testing.assert_array_equal(b.read(5), second[start : start + 5])


def test_pickles_are_not_read(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))

    np.savez(tmp_path / "a.npz", x=np.array([Bomb()], dtype=object))
    with SafeNpz(tmp_path / "a.npz") as file, pytest.raises(LawmError, match="pickled Python obj"):
        file.array("x")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6, 10**6), (5,), (2,), (-4,)])
def test_a_shape_that_the_file_cannot_fill(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = archive(tmp_path / "a.npz", npy_bytes(np.zeros(4), shape))
    with SafeNpz(path) as file, pytest.raises(LawmError, match=r"`x` of .* declares .* but holds"):
        file.header("x")


def test_a_size_that_no_compression_reaches(tmp_path: Path) -> None:
    data = npy_bytes(np.zeros(4), (10**9,))
    path = archive(tmp_path / "a.npz", data)
    content = bytearray(path.read_bytes())
    stated, claimed = struct.pack("<L", len(data)), struct.pack("<L", len(data) - 32 + 8 * 10**8)
    assert content.count(stated) == 2  # beside the member, and in the directory at the end
    path.write_bytes(content.replace(stated, claimed))
    with SafeNpz(path) as file, pytest.raises(LawmError, match="no archive of numpy's can hold"):
        file.header("x")


def test_more_than_may_be_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_npz, "MAX_READ_BYTES", 64)
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 4)))
    with SafeNpz(tmp_path / "a.npz") as file:
        with pytest.raises(LawmError, match="Split it into shorter episodes"):
            file.array("x")
        with file.rows("x") as rows:
            assert rows.read(2).shape == (2, 4)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x09\x00",
        b"not numpy" * 9,
        BRACKETS,
    ],
)
def test_a_header_that_is_none(tmp_path: Path, data: bytes) -> None:
    path = archive(tmp_path / "a.npz", data)
    with SafeNpz(path) as file, pytest.raises(LawmError, match=r"`x` of .* has no valid header"):
        file.header("x")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(tmp_path: Path, compression: int) -> None:
    path = archive(tmp_path / "a.npz", npy_bytes(np.zeros(4)), compression=compression)
    with SafeNpz(path) as file, pytest.raises(LawmError, match="in a way that numpy does not"):
        file.header("x")


def test_a_refused_array_leaves_no_file_open(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", BRACKETS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with SafeNpz(path) as file, contextlib.suppress(LawmError):
            file.header("x")
        del file
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_what_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(LawmError, match="There is no file"):
        SafeNpz(tmp_path / "gone.npz")
    (tmp_path / "a.npz").write_text("text")
    with pytest.raises(LawmError, match=r"a\.npz is not a numpy archive"):
        SafeNpz(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros(4))
    with SafeNpz(tmp_path / "b.npz") as file, pytest.raises(LawmError, match=r"holds \['x'\]"):
        file.array("y")


def test_damaged_bytes_are_a_sentence(tmp_path: Path) -> None:
    """Whatever is changed, an array is read or refused; nothing else is raised."""
    rng = np.random.default_rng(0)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, obs=rng.normal(size=(3, 5, 2)), act=np.zeros((3, 4, 1)))
    good, refused = path.read_bytes(), 0
    for _ in range(400):
        bad = bytearray(good)
        for position in rng.integers(0, len(bad), size=rng.integers(1, 4)):
            bad[position] = rng.integers(0, 256)
        path.write_bytes(bytes(bad)[: rng.integers(1, len(bad) + 1)] if rng.random() < 0.2 else bad)
        try:
            with SafeNpz(path) as file:
                for name in file.names:
                    file.array(name)
        except LawmError as error:
            refused += 1
            assert "a.npz" in str(error)
    assert refused > 100
