from __future__ import annotations

from types import SimpleNamespace

import torch

from lawm.callbacks.random_stream import RandomStream

ALONE = SimpleNamespace(world_size=1, global_rank=0, global_step=0)


def test_a_restored_stream_goes_on_with_the_same_numbers():
    torch.manual_seed(3)
    state = RandomStream(0).state_dict()
    expected = torch.rand(4)
    restored = RandomStream(0)
    restored.load_state_dict(state)
    torch.rand(9)  # what set-up draws
    restored.on_train_start(ALONE, None)
    assert torch.equal(torch.rand(4), expected)


def test_a_new_stream_is_left_as_it_was_seeded():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    RandomStream(0).on_train_start(ALONE, None)
    assert torch.equal(torch.rand(4), expected)


def test_validation_draws_the_same_numbers_and_leaves_no_trace():
    torch.manual_seed(3)
    expected = torch.rand(6)
    torch.manual_seed(3)
    stream, drawn, validation = RandomStream(5), [], []
    for _ in range(2):
        drawn.append(torch.rand(3))
        stream.on_validation_start(ALONE, None)
        validation.append(torch.rand(3))
        stream.on_validation_end(ALONE, None)
    assert torch.equal(torch.cat(drawn), expected)
    assert torch.equal(*validation)


def test_each_process_has_its_own_stream():
    numbers = []
    for rank in (0, 1):
        torch.manual_seed(0)
        stream = RandomStream(0)
        stream.on_train_start(SimpleNamespace(world_size=2, global_rank=rank, global_step=0), None)
        numbers.append(torch.rand(4))
    assert not torch.equal(*numbers)
