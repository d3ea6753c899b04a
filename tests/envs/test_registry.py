import pytest

from lawm.envs import make_env, register_env, registry
from lawm.errors import LawmError


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))


def test_registered_suite_is_asked_with_the_whole_id():
    calls = []

    def factory(env_id, action_repeat, seed):
        calls.append((env_id, action_repeat, seed))
        return "the environment"

    register_env("mysuite", factory)
    assert make_env("mysuite/a/b", 2, 5) == "the environment"
    assert calls == [("mysuite/a/b", 2, 5)]


def test_a_suite_registers_once():
    with pytest.raises(AssertionError, match="registered already"):
        register_env("dm_control", lambda env_id, action_repeat, seed: None)


def test_id_without_suite():
    with pytest.raises(
        LawmError, match=r"'cheetah-run' does not name its suite\. Did you mean 'dm_control/cheet"
    ):
        make_env("cheetah-run", 2, 0)


def test_id_of_unknown_suite():
    with pytest.raises(
        LawmError, match=r"no known suite\. Did you mean 'dm_control/cheetah-run'\?.*suites are: dm"
    ):
        make_env("dmcontrol/cheetah-run", 2, 0)
    with pytest.raises(LawmError, match=r"'atari/pong' belongs to no known suite\. Environments"):
        make_env("atari/pong", 2, 0)


def test_action_repeat_below_one():
    with pytest.raises(LawmError, match="action_repeat is 0, expected at least 1"):
        make_env("dm_control/cheetah-run", 0, 0)


def test_a_factory_that_fails_is_a_sentence(monkeypatch):
    def fails(env_id, action_repeat):
        raise AssertionError("is called with three arguments")

    monkeypatch.setitem(registry._FACTORIES, "broken", fails)
    with pytest.raises(LawmError, match=r"'broken/x' cannot be made: .* raised TypeError: "):
        make_env("broken/x")
