import os
import subprocess
import sys

import numpy as np
import pytest

from lawm.envs import make_env, rendering
from lawm.errors import LawmError


@pytest.fixture
def no_renderer_yet(monkeypatch):
    rendering.import_suite()
    from dm_control import _render

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(_render, "BACKEND", "off")
    monkeypatch.setattr(_render, "Renderer", None)
    rendering.working_backend.cache_clear()
    yield _render
    rendering.working_backend.cache_clear()


def test_picture_is_taken_although_rendering_was_off_at_import(gl):
    env = make_env("dm_control/cartpole-swingup", 1, 0)
    env.reset()
    picture = env.render(48, 64)
    assert picture.shape == (48, 64, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 10  # not one colour
    for _ in range(30):
        env.step(np.ones(1))
    assert not np.array_equal(env.render(48, 64), picture)
    env.close()


def test_a_film_of_another_size_changes_no_picture(gl):
    env = make_env("dm_control/cartpole-swingup", 1, 0)
    env.reset()
    small = env.render(32, 32)
    film = env.render(120, 160, "fixed")
    assert film.shape == (120, 160, 3)
    np.testing.assert_array_equal(env.render(32, 32), small)
    np.testing.assert_array_equal(env.render(120, 160, 0), film)
    env.close()


def test_sentence_when_neither_works(no_renderer_yet, monkeypatch):
    monkeypatch.setattr(rendering, "_PROBE", "raise OSError('no such library')")
    with pytest.raises(
        LawmError, match=r"no off-screen.*egl: OSError: no such library; osmesa: .*libosmesa6"
    ):
        assert rendering.use_working_renderer() == "glfw"
    assert no_renderer_yet.Renderer is None


def test_candidate_that_hangs_is_passed_over(no_renderer_yet, monkeypatch):
    def hang(*args, timeout, **kwargs):
        raise subprocess.TimeoutExpired("probe", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(LawmError, match="egl: no answer within 20 s"):
        rendering.use_working_renderer()


def test_second_candidate_is_taken_when_the_first_fails(no_renderer_yet, monkeypatch):
    monkeypatch.setattr(
        rendering, "_PROBE", "import os; assert os.environ['MUJOCO_GL'] == 'osmesa'"
    )
    monkeypatch.setitem(rendering._CONTEXTS, "osmesa", ("collections", "OrderedDict"))
    rendering.use_working_renderer()
    assert no_renderer_yet.Renderer.__name__ == "OrderedDict"


@pytest.mark.parametrize("value", ["disabled", "off", "0"])
def test_rendering_that_was_switched_off_is_told(no_renderer_yet, monkeypatch, value):
    monkeypatch.setenv("MUJOCO_GL", value)
    monkeypatch.setattr(sys, "executable", "/does/not/exist")  # nothing is probed
    with pytest.raises(
        LawmError, match=rf"MUJOCO_GL={value} switches .*Unset MUJOCO_GL.*egl or os"
    ):
        rendering.use_working_renderer()


def test_only_the_backend_that_the_user_named_is_tried(no_renderer_yet, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(
        rendering, "_PROBE", "import os; assert os.environ['MUJOCO_GL'] == 'egl', 'no library'"
    )
    with pytest.raises(LawmError, match=r"MUJOCO_GL=osmesa does not work .*no library.*or unset"):
        rendering.use_working_renderer()


@pytest.mark.parametrize("value", [None, "", "egl", "disabled"])
def test_what_the_user_set_is_left_in_the_environment(no_renderer_yet, monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("MUJOCO_GL", value)
    rendering.import_suite.__wrapped__()
    assert os.environ.get("MUJOCO_GL") == value


def test_a_renderer_that_the_user_chose_is_kept(no_renderer_yet, monkeypatch):
    monkeypatch.setattr(no_renderer_yet, "BACKEND", "glfw")
    monkeypatch.setattr(sys, "executable", "/does/not/exist")  # nothing is probed
    assert rendering.use_working_renderer() == "glfw"
    assert no_renderer_yet.Renderer is None
