from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lawm.envs import make_env
from lawm.envs.pixel_observations import make_renderer
from lawm.errors import LawmError
from lawm.renderer_spec import RendererSpec

WALKER = "dm_control/walker-walk"


def walker_renderer(cameras=(), size=24):
    env = make_env(WALKER)
    return make_renderer(env, size, cameras)


def test_cameras_are_kept_by_name_and_the_first_is_called_pixels():
    assert walker_renderer().cameras == {"pixels": "side"}
    assert walker_renderer(["1", "side"]).cameras == {"pixels": "back", "pixels_side": "side"}


@pytest.mark.parametrize(
    ("cameras", "size", "message"),
    [
        (["front"], 64, r"has no camera 'front'. Its cameras: 0 \(side\), 1 \(back\)\."),
        (["2"], 64, r"has no camera '2'. Its cameras: 0 \(side\)"),
        (["-1"], 64, "has no camera '-1'"),
        (["side", "0"], 64, "camera 'side' is named twice"),
        ([], 0, "width of the pictures is 0; expected 1 to 1024"),
        ([], 100_000, "width of the pictures is 100000; expected 1 to 1024"),
    ],
)
def test_what_cannot_be_rendered_is_refused(cameras, size, message):
    with pytest.raises(LawmError, match=message):
        walker_renderer(cameras, size)


def test_another_look_or_another_environment_is_refused():
    renderer = walker_renderer(["back"])
    with pytest.raises(LawmError, match=r"rendered as 24 x 24.*shadows on.*lawm data render"):
        make_env(WALKER, renderer=replace(renderer, shadows=True))
    with pytest.raises(
        LawmError, match=r"`pixels` were taken by the camera 'back', which .*pendul"
    ):
        make_env("dm_control/pendulum-swingup", renderer=renderer)


def test_the_backend_is_no_part_of_the_look():
    renderer = walker_renderer()
    assert replace(renderer, backend="egl") == replace(renderer, backend="osmesa")


def test_round_trip_and_parts_of_a_renderer():
    renderer = replace(walker_renderer(["side", "back"]), backend="egl")
    again = RendererSpec.from_dict(json.loads(json.dumps(renderer.to_dict())))
    assert again == renderer
    assert again.backend == "egl"
    part = renderer.for_keys(["state", "pixels_back"])
    assert part is not None
    assert part.cameras == {"pixels_back": "back"}
    assert renderer.for_keys(["state"]) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": None}, "width is None; expected a value of type int"),
        ({"width": True}, "width is True"),
        ({"width": 10**9}, "width of the pictures is 1000000000"),
        ({"shadows": 1}, "shadows is 1; expected a value of type bool"),
        ({"cameras": {}}, "cameras are {}"),
        ({"cameras": {"pixels": 0}}, "expected a camera by observation key"),
        ({"fog": True}, "has the fields .*fog"),
    ],
)
def test_a_damaged_renderer_is_refused(change, message):
    with pytest.raises(LawmError, match=message):
        RendererSpec.from_dict(walker_renderer().to_dict() | change)


def test_pictures_come_beside_states_that_they_do_not_change(gl):
    renderer = walker_renderer(["side", "back"])
    seeing, blind = make_env(WALKER, 2, 3, renderer), make_env(WALKER, 2, 3)
    obs, states = seeing.reset(), blind.reset()
    for _ in range(3):
        assert list(obs) == ["state", "pixels", "pixels_back"]
        np.testing.assert_array_equal(obs["state"], states["state"])
        assert {(obs[key].shape, obs[key].dtype.name) for key in renderer.cameras} == {
            ((24, 24, 3), "uint8")
        }
        np.testing.assert_array_equal(obs["pixels"], blind.render(24, 24, 0))
        assert not np.array_equal(obs["pixels"], obs["pixels_back"])
        before = obs["pixels"]
        obs, states = seeing.step(np.ones(6))[0], blind.step(np.ones(6))[0]
        assert not np.array_equal(obs["pixels"], before)  # nor are they one buffer
    seeing.close()
    blind.close()
