from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from lawm.data_modules import safe_dataset
from lawm.data_modules.safe_hdf5 import SafeHdf5, is_hdf5, natural_order
from lawm.errors import LawmError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["x"] = np.arange(12.0).reshape(4, 3)
        file["group/y"] = np.arange(5)
        file["group/text"] = np.array([b"one", b"two"])
        file["group"].attrs["note"] = "hello"
        for index in (10, 9, 2):
            file.create_group(f"demo_{index}")
    return tmp_path / "a.hdf5"


def test_what_is_there(path: Path) -> None:
    with SafeHdf5(path) as file:
        assert file.groups() == ["demo_2", "demo_9", "demo_10", "group"]
        assert file.datasets() == ["x"]
        assert file.datasets("group") == ["text", "y"]
        assert file.has("group/y") and not file.has("group/z") and not file.has("x/y")
        assert file.is_group("group") and not file.is_group("x")
        assert file.is_dataset("x") and not file.is_dataset("group")
        assert file.attribute("note", "group") == "hello"
        assert file.attribute("gone") is None
        assert file.dataset("group/text").texts() == ["one", "two"]
        rows = file.dataset("x")
        assert (rows.shape, rows.step_shape, len(rows)) == ((4, 3), (3,), 4)
        np.testing.assert_array_equal(rows.read(1, 3), [[3, 4, 5], [6, 7, 8]])


def test_numbers_in_names_count_as_numbers() -> None:
    assert natural_order(["a10", "a9", "b", "a", "10", "9"]) == ["a", "a9", "a10", "b", "9", "10"]
    assert natural_order(["1" * 5000, "2"])  # beyond the digits that int() takes


def test_links_are_not_followed(tmp_path: Path, path: Path) -> None:
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["secret"] = np.ones(3)
    with h5py.File(path, "a") as file:
        file["soft"] = h5py.SoftLink("/x")
        file["external"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/secret")
        file["group/up"] = h5py.SoftLink("/group")
    with SafeHdf5(path) as file:
        assert file.datasets() == ["x"]
        assert "up" not in file.groups("group")
        for name in ("soft", "external", "group/up/y"):
            assert not file.has(name)
            with pytest.raises(LawmError, match=r"reached by a link .*, and links are not"):
                file.dataset(name)


def test_data_in_other_files_are_refused(tmp_path: Path, path: Path) -> None:
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["secret"] = np.ones(3)
    (tmp_path / "raw").write_bytes(b"\1" * 24)
    layout = h5py.VirtualLayout(shape=(3,), dtype=float)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.hdf5"), "secret", shape=(3,))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("outside", (3,), float, external=[(str(tmp_path / "raw"), 0, 24)])
    with SafeHdf5(path) as file:
        for name in ("virtual", "outside"):
            with pytest.raises(LawmError, match=f"`/{name}` of .* keeps its data in other files"):
                file.dataset(name)


def test_sizes_that_were_never_written(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.create_dataset("flat", (10**12,), float)
        file.create_dataset("chunked", (10**10, 10**6), "u1", chunks=(100, 100))
        file.create_dataset("unlimited", (0, 4), float, maxshape=(None, 4)).resize((10**9, 4))
    with SafeHdf5(path) as file:
        for name in ("flat", "chunked", "unlimited"):
            with pytest.raises(LawmError, match=f"`/{name}` of .* never fully written"):
                file.dataset(name)


def test_objects_are_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.create_dataset("reference", data=np.array([file["x"].ref], h5py.ref_dtype))
    with SafeHdf5(path) as file, pytest.raises(LawmError, match="holds references or objects"):
        file.dataset("reference")


def test_more_than_may_be_read_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_dataset, "MAX_READ_BYTES", 64)
    with SafeHdf5(path) as file:
        rows = file.dataset("x")
        assert rows.read(0, 2).shape == (2, 3)
        with pytest.raises(LawmError, match="Split it into shorter episodes"):
            rows.read()


def test_chunks_too_large_to_unpack(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(path, "a") as file:
        file.create_dataset("big", data=np.zeros(1000), chunks=(1000,), compression="gzip")
    monkeypatch.setattr(safe_dataset, "MAX_CHUNK_BYTES", 64)
    with (
        SafeHdf5(path) as file,
        pytest.raises(LawmError, match=r"`/big` of .* stored in chunks"),
    ):
        file.dataset("big")


def test_a_damaged_chunk_is_a_sentence(path: Path) -> None:
    with h5py.File(path, "a") as file:
        made = file.create_dataset("z", data=np.arange(1000.0), compression="gzip", fletcher32=True)
        start = made.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[start + 20 : start + 40] = bytes(20)
    path.write_bytes(content)
    with SafeHdf5(path) as file, pytest.raises(LawmError, match=r"`/z` of .* is unreadable"):
        file.dataset("z").read()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_named(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(LawmError, match=r"a\.hdf5 (is truncated|cannot be opened)"):
        SafeHdf5(path)


def test_what_is_no_file(tmp_path: Path, path: Path) -> None:
    assert is_hdf5(path)
    assert not is_hdf5(tmp_path) and not is_hdf5(tmp_path / "gone")
    with pytest.raises(LawmError, match="There is no file"):
        SafeHdf5(tmp_path / "gone")
    with pytest.raises(LawmError, match="is a folder"):
        SafeHdf5(tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(LawmError, match="is not an HDF5 file"):
        SafeHdf5(tmp_path / "text")
