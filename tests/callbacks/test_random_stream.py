from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from lawm.callbacks.random_stream import RandomStream

MODULE = SimpleNamespace(device=torch.device("cpu"))
STRATEGY = SimpleNamespace(root_device=torch.device("cpu"))
ALONE = SimpleNamespace(strategy=STRATEGY, world_size=1, global_rank=0, global_step=0)


def saved(stream, trainer=ALONE):
    checkpoint = {}
    stream.on_save_checkpoint(trainer, MODULE, checkpoint)
    return checkpoint


def restored(checkpoint, trainer=ALONE):
    stream = RandomStream(0)
    stream.on_load_checkpoint(trainer, MODULE, checkpoint)
    torch.rand(9)  # what set-up draws
    stream.on_train_start(trainer, MODULE)
    return torch.rand(4)


def test_a_restored_stream_goes_on_with_the_same_numbers():
    torch.manual_seed(3)
    checkpoint = saved(RandomStream(0))
    expected = torch.rand(4)
    assert torch.equal(restored(checkpoint), expected)


@pytest.mark.filterwarnings("ignore:The checkpoint was written by another number")
def test_with_another_number_of_processes_each_is_seeded_anew():
    checkpoint = saved(RandomStream(0))
    pair = [SimpleNamespace(world_size=2, global_rank=rank, global_step=7) for rank in (0, 1)]
    first, second = (restored(checkpoint, trainer) for trainer in pair)
    assert not torch.equal(first, second)
    assert torch.equal(restored(checkpoint, pair[1]), second)


def test_a_new_stream_is_left_as_it_was_seeded():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    RandomStream(0).on_train_start(ALONE, MODULE)
    assert torch.equal(torch.rand(4), expected)


def test_validation_draws_the_same_numbers_and_leaves_no_trace():
    torch.manual_seed(3)
    expected = torch.rand(6)
    torch.manual_seed(3)
    stream, drawn, validation = RandomStream(5), [], []
    for _ in range(2):
        drawn.append(torch.rand(3))
        stream.on_validation_start(ALONE, MODULE)
        validation.append(torch.rand(3))
        stream.on_validation_end(ALONE, MODULE)
    assert torch.equal(torch.cat(drawn), expected)
    assert torch.equal(*validation)


def test_each_process_has_its_own_stream():
    numbers = []
    for rank in (0, 1):
        torch.manual_seed(0)
        stream = RandomStream(0)
        stream.on_train_start(
            SimpleNamespace(world_size=2, global_rank=rank, global_step=0), MODULE
        )
        numbers.append(torch.rand(4))
    assert not torch.equal(*numbers)
