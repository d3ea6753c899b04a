from dataclasses import replace

import pytest

from lawm import environment_check
from lawm.environment_check import check_environment
from lawm.errors import LawmError
from lawm.fit_config import EvaluationConfig
from lawm.policy_evaluation import PolicyEvaluation
from lawm.renderer_spec import RendererSpec
from lawm.run_folder import RunFolder
from lawm.spec import DataSpec, ObservationSpec

WALKER = "dm_control/walker-walk"
RENDERER = RendererSpec(8, 8, {"pixels": "back"})
PIXELS = DataSpec(
    {"pixels": ObservationSpec((8, 8, 3), "image")}, (-1.0,), (1.0,), WALKER, renderer=RENDERER
)
STATES = replace(
    PIXELS,
    observations={"state": ObservationSpec((24,), "state", (0.0,), (1.0,), (1.0,))},
    renderer=None,
)


@pytest.fixture
def renderer(monkeypatch):
    asked = []
    monkeypatch.setattr(environment_check, "working_backend", lambda: asked.append("egl"))
    return asked


def test_a_renderer_is_looked_for_where_pictures_are_needed(renderer):
    check_environment(STATES, WALKER)
    assert not renderer
    check_environment(PIXELS, WALKER)
    assert renderer


def test_the_evaluations_of_a_run_render_what_the_data_show(tmp_path):
    measuring = PolicyEvaluation(WALKER, EvaluationConfig(), PIXELS, RunFolder(tmp_path))
    (callback,) = measuring.callbacks
    assert callback._renderer == RENDERER


def test_imported_pictures_cannot_be_evaluated(renderer):
    with pytest.raises(
        LawmError, match=r"cannot give the pictures `pixels`: .*evaluation.env_id no"
    ):
        check_environment(replace(PIXELS, renderer=None), WALKER)


def test_an_environment_without_the_camera_is_refused(renderer):
    with pytest.raises(
        LawmError, match=r"camera 'back', which dm_control/pendulum-swingup does not"
    ):
        check_environment(PIXELS, "dm_control/pendulum-swingup")


def test_a_missing_renderer_is_found_before_training(monkeypatch):
    def none_works():
        raise LawmError("no off-screen renderer works")

    monkeypatch.setattr(environment_check, "working_backend", none_works)
    with pytest.raises(LawmError, match="no off-screen renderer works"):
        check_environment(PIXELS, WALKER)
