import time
from dataclasses import replace

import numpy as np
import pytest
from tiny_runs import ACTION_DIM, ENV_ID, LineEnv, tiny_fit, tiny_shard

from lawm import environment_check
from lawm.environment_check import check_environment, environment_of_run
from lawm.envs import registry
from lawm.envs.simulator_fault import SimulatorFault
from lawm.errors import LawmError
from lawm.fit_config import EvaluationConfig
from lawm.policy_evaluation import PolicyEvaluation
from lawm.renderer_spec import RendererSpec
from lawm.run_folder import RunFolder
from lawm.spec import DataSpec, ObservationSpec

WALKER = "dm_control/walker-walk"
RENDERER = RendererSpec(8, 8, {"pixels": "back"})
PIXELS = DataSpec(
    {"pixels": ObservationSpec((8, 8, 3), "image")},
    (-1.0,) * 6,
    (1.0,) * 6,
    WALKER,
    renderer=RENDERER,
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


LINE = replace(
    STATES,
    observations={"state": ObservationSpec((3,), "state", (0.0,), (1.0,), (1.0,))},
    action_low=(-1.0,) * ACTION_DIM,
    action_high=(1.0,) * ACTION_DIM,
    env_id=ENV_ID,
)


def state_of(shape):
    return {"state": replace(LINE.observations["state"], shape=shape)}


@pytest.mark.parametrize(
    ("differing", "message"),
    [
        (
            {"observations": {"position": LINE.observations["state"]}},
            r"^tiny/line does not fit the data\. It gives no observation `position`, of shape "
            r"\(3,\) in the data, but `state` of shape \(3,\)\. Name the environment",
        ),
        ({"observations": state_of((4,))}, r"`state` has shape \(3,\), that of the data \(4,\)\."),
        (
            {"action_low": (-1.0,), "action_high": (1.0,)},
            r"Its actions have the shape \(2,\), those of the data \(1,\)\.",
        ),
        (
            {"action_high": (1.0, 2.0)},
            r"reach from \[-1\.0, -1\.0\] to \[1\.0, 1\.0\], those of the data beyond, from "
            r"\[-1\.0, -1\.0\] to \[1\.0, 2\.0\]\.",
        ),
        (
            {"observations": state_of((4,)), "action_low": (-3.0, -1.0)},
            r"that of the data \(4,\)\. Its actions reach from",
        ),
    ],
    ids=["key", "shape", "dimension", "bounds", "two at once"],
)
@pytest.mark.parametrize("timeout", [None, 30])
def test_an_environment_that_does_not_fit_the_data_is_refused(differing, message, timeout):
    with pytest.raises(LawmError, match=message):
        check_environment(replace(LINE, **differing), ENV_ID, timeout)


def test_pictures_of_another_shape_are_refused(renderer):
    spec = replace(PIXELS, observations={"pixels": ObservationSpec((8, 9, 3), "image")})
    with pytest.raises(
        LawmError, match=r"`pixels` has shape \(8, 8, 3\), that of the data \(8, 9,"
    ):
        check_environment(spec, WALKER)


def test_bounds_may_differ_as_float32_does(monkeypatch, caplog):
    class Fine(LineEnv):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.action_low, self.action_high = np.full(2, -0.1), np.full(2, 0.3)

    monkeypatch.setitem(registry._FACTORIES, "tiny", Fine)
    rounded = {
        "action_low": (float(np.float32(-0.1)),) * 2,
        "action_high": (float(np.float32(0.3)),) * 2,
    }
    assert rounded["action_high"][0] > 0.3
    check_environment(replace(LINE, **rounded), ENV_ID)
    assert not caplog.text


def test_narrower_bounds_of_the_data_are_told(monkeypatch, caplog):
    """As those that were measured are; where the environment knows no bound, there is none."""
    check_environment(replace(LINE, action_low=(-0.5, -1.0)), ENV_ID)
    assert "reach from [-0.5, -1.0] to [1.0, 1.0], those of tiny/line from [-1.0" in caplog.text
    caplog.clear()

    class Unbounded(LineEnv):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.action_low, self.action_high = np.full(2, -np.inf), np.full(2, np.inf)

    monkeypatch.setitem(registry._FACTORIES, "tiny", Unbounded)
    check_environment(LINE, ENV_ID)
    assert not caplog.text


def test_a_simulator_that_hangs_at_its_reset_does_not_hang_the_check(monkeypatch, caplog):
    class Hanging(LineEnv):
        def reset(self, seed=None):
            time.sleep(600)

    monkeypatch.setitem(registry._FACTORIES, "tiny", Hanging)
    with pytest.raises(SimulatorFault, match=r"no answer to reset within the timeout of 0\.3 s"):
        check_environment(LINE, ENV_ID, timeout=0.3)
    assert environment_of_run(LINE, EvaluationConfig(timeout=0.3)) == ENV_ID
    assert "Whether tiny/line fits the data is not known, and evaluations in it may" in caplog.text


def test_fit_refuses_it_before_the_first_step(tmp_path, monkeypatch, capsys):
    class OneAction(LineEnv):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.action_low, self.action_high = -np.ones(1), np.ones(1)

    monkeypatch.setitem(registry._FACTORIES, "tiny", OneAction)
    assert tiny_fit(tiny_shard(tmp_path), tmp_path / "run") == 2
    assert "Its actions have the shape (1,), those of the data (2,)." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
