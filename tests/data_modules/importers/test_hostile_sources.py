"""What comes from anywhere: a sentence that names the file, and no shard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from source_writers import (
    recordings,
    write_d4rl,
    write_laom,
    write_minari,
    write_plain_numpy,
    write_robomimic,
)

from lawm.data_modules.importers.action_convention import SAMPLE_ROWS, find_convention
from lawm.data_modules.importers.import_options import ImportOptions
from lawm.data_modules.importers.importer import SourceOptions
from lawm.data_modules.importers.registry import importer_named
from lawm.data_modules.importers.run_import import run_import
from lawm.errors import LawmError

FORMATS = ["numpy", "d4rl", "minari", "robomimic", "ogbench", "laom"]
SINGLE_FILES = [kind for kind in FORMATS if kind != "minari"]
HDF5 = [kind for kind in FORMATS if kind not in ("numpy", "ogbench")]


def data_file(source: Path) -> Path:
    """The HDF5 file or archive of a source."""
    return source / "data" / "main_data.hdf5" if source.is_dir() else source


def refuse(source: Path, match: str, **options: object) -> None:
    path = source.parent / "out.h5"
    with pytest.raises(LawmError, match=match):
        run_import(source, path, ImportOptions(**options))  # type: ignore[arg-type]
    assert not path.exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("source", FORMATS, indirect=True)
def test_a_truncated_source_is_named(source: Path, share: float) -> None:
    file = data_file(source)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    refuse(source, file.name.replace(".", r"\."))


def longest(file: h5py.File) -> str:
    """The dataset of the most bytes."""
    sizes: dict[str, int] = {}
    file.visititems(
        lambda name, node: (
            sizes.update({name: node.nbytes})
            if isinstance(node, h5py.Dataset) and "infos" not in name
            else None
        )
    )
    return max(sizes, key=lambda name: sizes[name])


def as_external_link(file: h5py.File, name: str, outside: Path) -> None:
    with h5py.File(outside, "w") as other:
        file.copy(name, other, "x")
    del file[name]
    file[name] = h5py.ExternalLink(str(outside), "/x")


def as_soft_link(file: h5py.File, name: str, outside: Path) -> None:
    file.move(name, "elsewhere")
    file[name] = h5py.SoftLink("/elsewhere")


def as_virtual(file: h5py.File, name: str, outside: Path) -> None:
    with h5py.File(outside, "w") as other:
        file.copy(name, other, "x")
    shape, dtype = file[name].shape, file[name].dtype
    layout = h5py.VirtualLayout(shape=shape, dtype=dtype)
    layout[:] = h5py.VirtualSource(str(outside), "x", shape=shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def as_declared_only(file: h5py.File, name: str, outside: Path) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    file.create_dataset(name, (shape[0], *([2**17] * (len(shape) - 1))), dtype, chunks=True)


def as_objects(file: h5py.File, name: str, outside: Path) -> None:
    num = len(file[name])
    del file[name]
    file.create_dataset(name, data=np.array([file.ref] * num, h5py.ref_dtype))


def as_group(file: h5py.File, name: str, outside: Path) -> None:
    del file[name]
    file.create_group(name)


HOSTILE = [as_external_link, as_soft_link, as_virtual, as_declared_only, as_objects, as_group]


@pytest.mark.parametrize("change", HOSTILE)
@pytest.mark.parametrize("source", HDF5, indirect=True)
def test_nothing_is_read_outside_the_file(
    source: Path, change: Callable[[h5py.File, str, Path], None]
) -> None:
    with h5py.File(data_file(source), "a") as file:
        change(file, longest(file), source.parent / "outside.hdf5")
    refuse(source, r"(main_data|a)\.hdf5")


@pytest.mark.parametrize("source", SINGLE_FILES, indirect=True)
def test_text_instead_of_numbers(source: Path) -> None:
    if source.suffix == ".npz":
        with np.load(source) as archive:
            arrays = dict(archive)
        name = "act" if "act" in arrays else "actions"
        arrays[name] = arrays[name].astype("S4")
        np.savez(source, **arrays)
    else:
        with h5py.File(source, "a") as file:
            name = next(n for n in ("actions", "data/demo_0/actions", "0/actions") if n in file)
            values = file[name][()].astype("S4")
            del file[name]
            file[name] = values
    refuse(source, r"(`act`|actions) of .*a\.(npz|hdf5) ha(s|ve) type")


@pytest.mark.parametrize("source", HDF5, indirect=True)
def test_a_group_that_contains_itself(source: Path) -> None:
    with h5py.File(data_file(source), "a") as file:
        for group in ("/", "data", "episode_0/observations", "0", "data/demo_0/obs"):
            if isinstance(file.get(group), h5py.Group):
                file[group]["loop"] = file[group]
    path = source.parent / "out.h5"
    try:
        run_import(source, path, ImportOptions())
    except LawmError as error:
        assert "hdf5" in str(error)
        assert not path.exists()


def test_minari_metadata_that_are_none(tmp_path: Path) -> None:
    source = write_minari(tmp_path, recordings([3]))
    metadata = source / "data" / "metadata.json"
    for text in ("", "[]", "{", "\xff", '{"data_format": 3}', "[" * 100_000):
        metadata.write_text(text, encoding="latin-1")
        refuse(source, r"metadata\.json|data_format", format="minari")


def test_minari_frames_that_are_none(tmp_path: Path) -> None:
    source = write_minari(tmp_path, recordings([3]), kind="image")
    copy = tmp_path / "copy"
    for start, stop, match in ((0, 0, "picture|decoded"), (50, 0, "decoded as JPEG"), (160, 2, "")):
        shutil.copytree(source, copy)
        with h5py.File(data_file(copy), "a") as file:
            rows = file["episode_0/observations"][()]
            bad = [np.array(row) for row in rows]
            bad[2] = bad[2][:start] if not stop else bad[2]
            bad[2][3 : start or None] = 0
            del file["episode_0/observations"]
            made = file.create_dataset("episode_0/observations", (4,), h5py.vlen_dtype(np.uint8))
            for index, row in enumerate(bad):
                made[index] = row
        refuse(copy, rf"Frame 2 of `/episode_0/observations` of .*main_data\.hdf5.*{match}")
        shutil.rmtree(copy)


def test_a_frame_of_another_size_is_not_decoded(tmp_path: Path) -> None:
    from PIL import Image

    source = write_minari(tmp_path, recordings([3]), kind="image")
    with h5py.File(data_file(source), "a") as file:
        rows = list(file["episode_0/observations"][()])
        Image.new("RGB", (3000, 3000)).save(tmp_path / "big.jpg")
        rows[1] = np.frombuffer((tmp_path / "big.jpg").read_bytes(), np.uint8)
        del file["episode_0/observations"]
        made = file.create_dataset("episode_0/observations", (4,), h5py.vlen_dtype(np.uint8))
        for index, row in enumerate(rows):
            made[index] = row
    refuse(source, r"Frame 1 .* is a picture of \(3000, 3000, 3\); expected \(36, 40, 3\)")


def test_minari_in_arrow_is_refused(tmp_path: Path) -> None:
    source = write_minari(tmp_path, recordings([3]))
    metadata = source / "data" / "metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "data_format": "arrow"}))
    refuse(source, "stored as 'arrow'; lawm reads Minari's hdf5")


def test_a_failed_import_spares_the_old_shard(tmp_path: Path) -> None:
    source, path = write_plain_numpy(tmp_path / "a.npz", recordings([3, 3])), tmp_path / "out.h5"
    run_import(source, path, ImportOptions())
    before = path.read_bytes()
    with np.load(source) as archive:
        arrays = dict(archive)
    arrays["obs"][1, 2, 0] = np.nan
    np.savez(source, **arrays)
    with pytest.raises(LawmError, match=r"Episode 1 \(a/1\) .* NaN.* It is from .*a\.npz"):
        run_import(source, path, ImportOptions(overwrite=True))
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npz", "out.h5"]


def test_keys_of_unequal_length(tmp_path: Path) -> None:
    source = write_laom(tmp_path / "a.hdf5", recordings([4, 3]))
    with h5py.File(source, "a") as file:
        del file["1/states"]
        file["1/states"] = np.zeros((9, 3), np.float32)
    refuse(source, r"`states` of a/1 in .*a\.hdf5 has shape \(9, 3\); expected 3 rows")


def test_next_observations_of_another_shape(tmp_path: Path) -> None:
    source = write_robomimic(tmp_path / "a.hdf5", recordings([4, 3]))
    with h5py.File(source, "a") as file:
        name = "data/demo_1/next_obs/robot0_eef_pos"
        rows = file[name][()].reshape(-1)
        del file[name]
        file[name] = rows
    refuse(source, r"next_obs/robot0_eef_pos` of .*a\.hdf5 has type float32 and shape \(9,\)")


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_d4rl, "terminals"),
        (write_d4rl, "timeouts"),
        (write_robomimic, "data/demo_0/dones"),
    ],
)
def test_flags_that_are_text(tmp_path: Path, write: Callable[..., Path], name: str) -> None:
    source = write(tmp_path / "a.hdf5", recordings([4, 3]))
    with h5py.File(source, "a") as file:
        num = len(file[name])
        del file[name]
        file[name] = np.full(num, b"yes")
    refuse(source, rf"`/{name}` of .*a\.hdf5 has type .* expected a flag a row")


def test_an_episode_of_any_length_is_judged_by_its_beginning(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 3 * SAMPLE_ROWS
    source = tmp_path / "a.npz"
    np.savez(source, obs=rng.normal(size=(1, rows, 2)), act=rng.normal(size=(1, rows, 1)))
    importer = importer_named("numpy")
    with importer.open(source, SourceOptions()) as opened:
        finding = find_convention(opened, "led_into", "here")
        assert finding.convention == "led_into"
        with pytest.raises(LawmError, match="nor its numbers say"):
            find_convention(opened, None, "here")
