from __future__ import annotations

import numpy as np
import pytest

from lawm.data_modules.importers.importer import ObservationField
from lawm.data_modules.importers.observation_keys import choose_keys
from lawm.errors import LawmError


def field(
    shape: tuple[int, ...], dtype: object = np.float32, name: str = "x", left_out: str = ""
) -> ObservationField:
    return ObservationField(shape, np.dtype(dtype), name, left_out)  # type: ignore[call-overload]


CONVERSIONS = {
    "vector": ((4,), np.float32, (4,), np.float32),
    "double": ((4,), np.float64, (4,), np.float64),
    "number": ((), np.float32, (1,), np.float32),
    "whole number": ((), np.int64, (1,), np.float32),
    "flag": ((), np.bool_, (1,), np.float32),
    "bytes": ((5,), np.uint8, (5,), np.float32),
    "HWC": ((8, 9, 3), np.uint8, (8, 9, 3), np.uint8),
    "CHW": ((3, 8, 9), np.uint8, (8, 9, 3), np.uint8),
    "grey": ((8, 9), np.uint8, (8, 9, 1), np.uint8),
    "grey CHW": ((1, 8, 9), np.uint8, (8, 9, 1), np.uint8),
    "both ends alike": ((3, 8, 3), np.uint8, (3, 8, 3), np.uint8),
}


@pytest.mark.parametrize("case", CONVERSIONS)
def test_what_becomes_of_a_key(case: str) -> None:
    shape, dtype, expected_shape, expected_type = CONVERSIONS[case]
    ((key,), left_out) = choose_keys({"k": field(shape, dtype)}, (), "here")
    rows = np.random.default_rng(0).integers(0, 2, size=(5, *shape)).astype(dtype)
    converted = key.convert(rows, "here")
    assert converted.shape == (5, *expected_shape) == (5, *key.shape)
    assert converted.dtype == expected_type
    if case in ("CHW", "grey CHW"):
        np.testing.assert_array_equal(converted[2, 3, 4], rows[2, :, 3, 4])
    else:
        np.testing.assert_array_equal(converted.reshape(5, -1), rows.reshape(5, -1))
    assert not left_out


@pytest.mark.parametrize(
    "values", [np.zeros((5, 3)), np.zeros((5, 4, 1)), np.full((5, 4), b"text"), np.zeros(5)]
)
def test_an_episode_of_another_kind_than_the_first(values: np.ndarray) -> None:
    ((key,), _) = choose_keys({"k": field((4,))}, (), "here")
    with pytest.raises(LawmError, match=r"`k` of a/1 has steps of .* as in the first episode"):
        key.convert(values, "a/1")


def test_an_episode_of_another_kind_of_image() -> None:
    ((key,), _) = choose_keys({"k": field((8, 8, 3), np.uint8)}, (), "here")
    with pytest.raises(LawmError, match=r"has steps of float32 .* expected uint8"):
        key.convert(np.zeros((5, 8, 8, 3), np.float32), "a/1")


def test_numbers_of_another_precision_than_the_first_are_taken() -> None:
    ((key,), _) = choose_keys({"k": field((4,))}, (), "here")
    assert key.convert(np.zeros((5, 4), np.float16), "a/1").shape == (5, 4)


def test_the_default_choice() -> None:
    fields = {
        "pos": field((3,), name="pos"),
        "camera": field((3, 64, 64), np.uint8, "camera"),
        "text": field((), "S8", "text"),
        "depth": field((64, 64), np.float32, "depth"),
        "qpos": field((3,), name="qpos", left_out="simulator state"),
        "none": field((0,), name="none"),
    }
    chosen, left_out = choose_keys(fields, (), "here")
    assert [key.name for key in chosen] == ["pos", "camera"]
    assert left_out == {
        "text": "|S8 (): neither numbers nor a uint8 image",
        "depth": "2 axes a step of float32, where pictures are uint8; "
        "--keys depth makes it a vector",
        "qpos": "simulator state",
        "none": "float32 (0,): neither numbers nor a uint8 image",
    }
    chosen, left_out = choose_keys(fields, ("depth=state", "qpos"), "here")
    assert [(key.source, key.name, key.shape) for key in chosen] == [
        ("depth", "state", (4096,)),
        ("qpos", "qpos", (3,)),
    ]
    assert left_out["pos"] == "not among --keys"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ("gone",),
            "asks for gone, which here does not have; its observation keys are a, b",
        ),
        (("a=x", "b=x"), "`a` of here would be called 'x'; expected a name of its own"),
        (("a=x/y",), "would be called 'x/y'"),
        (("a=x.y",), "would be called 'x.y'"),
        (("text",), r"`text` of here, whose steps are \|S8 of shape \(\); expected numbers"),
    ],
)
def test_a_choice_that_cannot_be_made(asked: tuple[str, ...], message: str) -> None:
    fields = {"a": field((3,), name="a"), "b": field((3,), name="b"), "text": field((), "S8", "t")}
    with pytest.raises(LawmError, match=message):
        choose_keys(fields, asked, "here")


def test_nothing_to_import() -> None:
    with pytest.raises(LawmError, match=r"no observations that can be imported \(t: \|S8"):
        choose_keys({"t": field((), "S8")}, (), "here")
