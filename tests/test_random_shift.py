from __future__ import annotations

import torch

from lawm.random_shift import RandomShift, random_shift

STEPS, ROWS, HEIGHT, WIDTH, PAD = 3, 40, 9, 11, 2


def numbered():
    """Each pixel says where it stood."""
    place = torch.arange(HEIGHT * WIDTH, dtype=torch.uint8).view(HEIGHT, WIDTH, 1)
    return place.expand(STEPS, ROWS, -1, -1, -1)


def offsets(shifted):
    """(T + 1, B) how far down and to the right: from the number in the middle."""
    middle = shifted[:, :, HEIGHT // 2, WIDTH // 2, 0].long()
    return HEIGHT // 2 - middle // WIDTH, WIDTH // 2 - middle % WIDTH


def test_a_window_is_shifted_as_one_and_the_windows_differ():
    torch.manual_seed(0)
    for offset in offsets(random_shift(numbered(), PAD)):
        assert (offset == offset[:1]).all()
        assert set(offset[0].tolist()) == set(range(-PAD, PAD + 1))


def test_what_comes_in_is_the_nearest_pixel_of_the_border():
    torch.manual_seed(0)
    images = numbered()
    shifted = random_shift(images, PAD)
    padded = torch.nn.functional.pad(
        images[0, 0].permute(2, 0, 1)[None].float(), (PAD,) * 4, mode="replicate"
    )
    padded = padded[0].permute(1, 2, 0).byte()
    for row, (down, right) in enumerate(zip(*(o[0] for o in offsets(shifted)), strict=True)):
        top, left = PAD - int(down), PAD - int(right)
        expected = padded[top : top + HEIGHT, left : left + WIDTH]
        assert shifted[0, row].equal(expected)


def test_only_images_and_only_while_training():
    obs = {"state": torch.randn(STEPS, ROWS, 4), "pixels": numbered()}
    shift = RandomShift(["pixels"], PAD)
    torch.manual_seed(0)
    assert shift(obs)["state"] is obs["state"]
    assert not shift(obs)["pixels"].equal(obs["pixels"])
    for off in (shift.eval(), RandomShift(["pixels"], 0).train(), RandomShift([], PAD).train()):
        before = torch.get_rng_state()
        assert off(obs) is obs
        assert torch.get_rng_state().equal(before)
