import pytest
import torch

from lawm.returns import PercentileScale, lambda_returns


def column(*values):
    return torch.tensor(values).unsqueeze(1)


def test_lambda_returns_equal_numbers_computed_by_hand():
    reward, discount = column(1.0, 2.0, 3.0), column(0.9, 0.5, 0.8)
    next_value = column(10.0, 20.0, 30.0)
    returns = lambda_returns(reward, discount, next_value, lambda_=0.75)
    # R_2 = 3 + 0.8 * 30 = 27
    # R_1 = 2 + 0.5 * (0.25 * 20 + 0.75 * 27) = 14.625
    # R_0 = 1 + 0.9 * (0.25 * 10 + 0.75 * 14.625) = 13.121875
    torch.testing.assert_close(returns, column(13.121875, 14.625, 27.0))


def test_lambda_zero_is_the_one_step_target():
    reward, discount, value = torch.randn(3, 4, 2).unbind()
    returns = lambda_returns(reward, discount, value, lambda_=0.0)
    torch.testing.assert_close(returns, reward + discount * value)


def test_lambda_one_is_the_discounted_sum_and_the_last_value():
    reward, value = column(1.0, 2.0, 4.0), column(5.0, 6.0, 7.0)
    discount = torch.full((3, 1), 0.5)
    returns = lambda_returns(reward, discount, value, lambda_=1.0)
    torch.testing.assert_close(returns[0], torch.tensor([1 + 1 + 1 + 0.125 * 7]))


def test_shapes_must_agree():
    with pytest.raises(AssertionError):
        lambda_returns(torch.zeros(3, 2), torch.zeros(3, 1), torch.zeros(3, 2), 0.9)


def test_percentile_scale_starts_at_the_first_batch_and_then_moves_slowly():
    scale = PercentileScale(decay=0.9)
    returns = torch.arange(101.0)
    torch.testing.assert_close(scale.update(scale.percentiles(returns)), torch.tensor(90.0))
    torch.testing.assert_close(scale.update(scale.percentiles(2 * returns)), torch.tensor(99.0))


def test_percentile_scale_does_not_blow_up_small_returns():
    scale = PercentileScale()
    assert scale.update(scale.percentiles(torch.full((50,), 0.01))) == 1.0
