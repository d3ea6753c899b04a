"""Environments: one small interface, the suites behind it, and a place to register more."""

from lawm.envs.environment import Environment
from lawm.envs.registry import EnvironmentFactory, make_env, register_env

__all__ = ["Environment", "EnvironmentFactory", "make_env", "register_env"]
