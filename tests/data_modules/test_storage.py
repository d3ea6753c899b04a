"""All kinds of storage give the same batches, whatever process makes them."""

from __future__ import annotations

import itertools
import os
import pickle
import resource

import numpy as np
import pytest
import torch
from shard_factory import write_shard

from lawm.data_modules import MixedTrajectoryDataModule, open_files
from lawm.data_modules.available_memory import available_memory
from lawm.data_modules.batch_loaders import MixedBatchLoader
from lawm.data_modules.shard_headers import read_headers
from lawm.data_modules.shard_reader import read_shard_header
from lawm.data_modules.storage_choice import choose_storage, choose_workers
from lawm.errors import LawmError

STORAGES = ["memory", "mapped", "stream"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Five shards of uneven episodes; states and images, some without actions or rewards."""
    folder = tmp_path_factory.mktemp("shards")
    return [
        write_shard(
            folder / f"{number}.h5",
            lengths=[5 + (3 * number + episode) % 7 for episode in range(6)],
            has_action=[(number + episode) % 4 > 0 for episode in range(6)],
            has_reward=[(number + episode) % 3 > 0 for episode in range(6)],
            counter=False,
            seed=number,
            image=True,
        )
        for number in range(5)
    ]


def make_data(shards, tmp_path, storage, **changes):
    settings = {"labels": "6", "held_out": "3", "window": 4, "batch_size": 8} | changes
    return MixedTrajectoryDataModule(
        [str(path) for path in shards], storage=storage, cache_dir=str(tmp_path / "c"), **settings
    )


def tensors(batch):
    return [*batch.obs.values(), batch.action, batch.reward, batch.has_reward] + (
        [batch.terminated] if hasattr(batch, "terminated") else [batch.length]
    )


def are_equal(one, other):
    return all(
        torch.equal(a, b) and a.dtype == b.dtype
        for a, b in zip(tensors(one), tensors(other), strict=True)
    )


@pytest.mark.parametrize("rewards_on_action_free", [False, True])
@pytest.mark.parametrize("storage", ["mapped", "stream"])
def test_every_storage_gives_the_same(
    shards, tmp_path, storage, rewards_on_action_free, monkeypatch
):
    monkeypatch.setattr(open_files, "MAX_OPEN", 2)  # fewer than there are shards
    change = {"rewards_on_action_free": rewards_on_action_free}
    memory = make_data(shards, tmp_path, "memory", **change)
    other = make_data(shards, tmp_path, storage, **change)
    assert other.spec == memory.spec
    assert other.fingerprint() == memory.fingerprint()
    pairs = zip(memory.train_dataloader(), other.train_dataloader(), strict=True)
    assert all(are_equal(*pair) for pair in itertools.islice(pairs, 20))
    assert all(
        are_equal(*pair)
        for pair in zip(memory.val_dataloader(), other.val_dataloader(), strict=True)
    )
    assert all(are_equal(*pair) for pair in zip(memory.episodes(4), other.episodes(4), strict=True))
    assert are_equal(memory.held_out_episodes(), other.held_out_episodes())


@pytest.mark.parametrize("start_method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_change_nothing(shards, tmp_path, start_method):
    """The parent has its files open; the position counts what was handed out, not what was made."""
    data = make_data(shards, tmp_path, "stream", workers=0)
    before = torch.get_rng_state()
    alone = list(itertools.islice(data.train_dataloader(), 12))
    stream = data.train_dataloader()._batches

    def loader(state=None, rank=0):
        made = MixedBatchLoader(stream, rank, 2, workers=2, start_method=start_method)
        if state is not None:
            made.load_state_dict(state)
        return made

    first = loader()
    for expected, batch in zip(alone[0:6:2], first, strict=False):
        assert are_equal(expected, batch)
        if first.state_dict() == {"num_drawn": 6}:
            break
    for expected, batch in zip(alone[7::2], loader(first.state_dict(), rank=1), strict=False):
        assert are_equal(expected, batch)
    assert torch.equal(torch.get_rng_state(), before)  # the model's random numbers


@pytest.mark.parametrize("storage", ["mapped", "stream"])
def test_open_files_stay_with_their_process(shards, tmp_path, storage):
    data = make_data(shards, tmp_path, storage)
    expected = next(iter(data.train_dataloader()))
    copy = pickle.loads(pickle.dumps(data.store))
    assert len(copy.rows._files._files) == 0
    sampler = data.train_dataloader()._batches._sampler
    assert are_equal(copy.windows(*sampler.rows(0), 4), expected)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["mapped", "stream"])
def test_more_shards_than_files_may_be_open(many_shards, tmp_path, storage):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files.MAX_OPEN + 128, before[1]))
    try:
        # Without workers: then the files are open in this process
        settings = {"labels": "50%", "held_out": "5%", "workers": 0}
        data = make_data(many_shards, tmp_path, storage, **settings)
        batches = list(itertools.islice(data.train_dataloader(), 100))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(data.store.rows._files._files) == open_files.MAX_OPEN
    seen = {float(state) for batch in batches for state in batch.obs["state"][:, 0, 0]}
    assert len(seen) > 3 * open_files.MAX_OPEN  # each begins at a number of its own


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    return [
        write_shard(folder / f"{seed:04}.h5", lengths=[6, 6], counter=False, seed=seed)
        for seed in range(400)
    ]


def test_a_file_cut_short_while_in_use_is_an_error_in_words(shards, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(shards[1].read_bytes())
    data = make_data([path], tmp_path, "mapped", labels="1", held_out="none")
    data.setup()
    os.truncate(path, 3000)
    with pytest.raises(LawmError, match=r"ends before byte \d+: it was changed while it was in us"):
        list(itertools.islice(data.train_dataloader(), 20))


def test_a_damaged_copy_is_made_again(shards, tmp_path):
    expected = next(iter(make_data(shards, tmp_path, "mapped").train_dataloader()))
    copies = sorted((tmp_path / "c").glob("*.raw"))
    assert len(copies) == len(shards)  # the images; states lie uncompressed in their shards
    copies[0].write_bytes(bytes(copies[0].stat().st_size))
    copies[1].write_bytes(b"short")
    copies[2].unlink()
    again = next(iter(make_data(shards, tmp_path, "mapped").train_dataloader()))
    assert are_equal(again, expected)
    assert sorted((tmp_path / "c").iterdir()) == copies


def test_storage_is_chosen_by_size(shards, tmp_path):
    headers = read_headers(shards, [])
    rows = sum(read_shard_header(path)[1].num_rows for path in shards)
    size = rows * (8 * 8 * 3 + 4 * (3 + 2 + 1))

    def choose(wanted="auto", **measured):
        return choose_storage(wanted, headers, tmp_path, **measured)

    assert choose(available=2 * size).storage == "memory"
    assert choose(available=2 * size, num_processes=2, disk=10**9).storage == "mapped"
    assert choose(available=2 * size - 1, disk=rows * 400).storage == "mapped"
    chosen = choose(available=2 * size - 1, disk=rows * 380)
    assert chosen.storage == "stream"
    assert f"{size / 1000:.3g} kB of data" in chosen.reason
    assert choose("stream", available=2 * size).storage == "stream"
    with pytest.raises(LawmError, match=r"data\.storage is memory, but there are .* kB of data"):
        choose("memory", available=size - 1)
    assert choose_workers(None, "memory", 1) == choose_workers(None, "mapped", 1) == 0
    assert choose_workers(None, "stream", 1) >= 1
    assert choose_workers(3, "memory", 1) == 3


def test_memory_is_measured_within_the_cgroup(tmp_path):
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:  80 kB\n")
    assert available_memory(cgroups, proc) == 80 * 1024
    (proc / "self/cgroup").write_text("0::/job/step\n")
    for name, limit, used in (("job", "50000", 20000), ("job/step", "max", 1)):
        (cgroups / name).mkdir(parents=True)
        (cgroups / name / "memory.max").write_text(f"{limit}\n")
        (cgroups / name / "memory.current").write_text(f"{used}\n")
    assert available_memory(cgroups, proc) == 30000
    (cgroups / "job/memory.stat").write_text("anon 5\ninactive_file 7000\n")
    assert available_memory(cgroups, proc) == 37000
    (proc / "self/cgroup").write_text("4:memory:/old\n")
    (cgroups / "memory/old").mkdir(parents=True)
    (cgroups / "memory/old/memory.limit_in_bytes").write_text("9000")
    (cgroups / "memory/old/memory.usage_in_bytes").write_text("1000")
    assert available_memory(cgroups, proc) == 8000


def test_the_choice_is_told(shards, tmp_path, caplog):
    with caplog.at_level("INFO"):
        data = make_data(shards, tmp_path, "auto")
        data.setup()
    assert "data.storage: memory (" in caplog.text and "available to each process" in caplog.text
    assert data.summary()["storage"] == "memory"
    assert np.isclose(data.summary()["data (MB)"], 0.1, atol=0.1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_streamed_shard_that_vanished_is_named_without_a_traceback(
    shards, tmp_path, workers, monkeypatch
):
    monkeypatch.setattr(open_files, "MAX_OPEN", 1)
    copies = [tmp_path / path.name for path in shards]
    for path, copy in zip(shards, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    data = make_data(copies, tmp_path, "stream", workers=workers)
    batches = data.train_dataloader()
    for copy in copies:
        copy.unlink()
    with pytest.raises(LawmError) as caught:
        list(itertools.islice(batches, 3))
    assert str(caught.value).startswith(f"There is no file {tmp_path}")
    assert "Traceback" not in str(caught.value)
