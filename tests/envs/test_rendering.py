import subprocess
import sys

import numpy as np
import pytest

from lawm.envs import make_env, rendering
from lawm.errors import LawmError


@pytest.fixture
def no_renderer_yet(monkeypatch):
    from dm_control import _render

    monkeypatch.setattr(_render, "BACKEND", "off")
    monkeypatch.setattr(_render, "Renderer", None)
    rendering.use_working_renderer.cache_clear()
    yield _render
    rendering.use_working_renderer.cache_clear()


def render_or_skip(env, *size):
    try:
        return env.render(*size)
    except LawmError as error:
        if "no off-screen renderer works" not in str(error):
            raise
        pytest.skip(str(error))


def test_picture_is_taken_although_rendering_was_off_at_import():
    env = make_env("dm_control/cartpole-swingup", 1, 0)
    env.reset()
    picture = render_or_skip(env, 48, 64)
    assert picture.shape == (48, 64, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 10  # not one colour
    for _ in range(30):
        env.step(np.ones(1))
    assert not np.array_equal(env.render(48, 64), picture)
    with pytest.raises(AssertionError):
        env.render(10, 10)
    env.close()


def test_sentence_when_neither_works(no_renderer_yet, monkeypatch):
    monkeypatch.setattr(rendering, "_PROBE", "raise OSError('no such library')")
    with pytest.raises(
        LawmError, match=r"no off-screen.*egl: OSError: no such library; osmesa: .*libosmesa6"
    ):
        rendering.use_working_renderer()
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


def test_a_renderer_that_the_user_chose_is_kept(no_renderer_yet, monkeypatch):
    monkeypatch.setattr(no_renderer_yet, "BACKEND", "glfw")
    monkeypatch.setattr(sys, "executable", "/does/not/exist")  # nothing is probed
    rendering.use_working_renderer()
    assert no_renderer_yet.Renderer is None
