"""A tiny policy that is trained under EvaluationCallback."""

import random

import lightning.pytorch as pl
import numpy as np
import torch
from quiet_trainer import quiet_trainer
from torch import nn

from lawm.callbacks.evaluation import EvaluationCallback

ENV_ID, REPEAT = "dm_control/cartpole-balance", 50  # 20 steps an episode


class PolicyModule(pl.LightningModule):
    """Its dropout makes the weights depend on the random stream and on the mode."""

    def __init__(self):
        super().__init__()
        self.policy = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5), nn.Linear(16, 1))
        self.frozen = nn.Dropout(0.5)
        self.agents = []

    def on_train_start(self):
        self.frozen.eval()

    def training_step(self, batch, batch_idx):
        assert self.policy.training and not self.frozen.training
        noise = torch.rand(1) + random.random() + np.random.rand()
        return (self.policy(batch) - noise).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def agent(self):
        self.agents.append(RandomisedAgent(self))
        return self.agents[-1]


class ValuedPolicyModule(PolicyModule):
    """Its critic promises 40, and 2 more for each episode before; noise, as a careless one does."""

    gamma = 0.9

    def start_value(self, obs):
        torch.rand(1)
        return 40.0 + 2.0 * np.arange(len(obs["state"]))


class RandomisedAgent:
    def __init__(self, module):
        assert not any(submodule.training for submodule in module.modules())
        self.policy = module.policy

    def initial_state(self, num):
        assert not torch.is_grad_enabled()

    def act(self, obs, state):
        random.random(), np.random.rand()
        action = torch.tanh(self.policy(torch.from_numpy(obs["state"])) + 0.1 * torch.randn(1))
        return action.numpy(), None


class ResumableLoader:
    """Always the same batch."""

    def __len__(self):
        return 1000

    def __iter__(self):
        while True:
            yield torch.linspace(-1, 1, 80).reshape(16, 5)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def fit(callback, max_steps, ckpt_path=None, module=None, **trainer_options):
    pl.seed_everything(0, verbose=False)
    module = module or PolicyModule()
    callbacks = [callback] if callback else []
    trainer = quiet_trainer(max_steps, callbacks=callbacks, **trainer_options)
    trainer.fit(module, ResumableLoader(), ckpt_path=ckpt_path, weights_only=True)
    return trainer, module


def make_callback(**options):
    defaults = {
        "every_n_steps": 4,
        "episodes": 2,
        "final_episodes": 3,
        "seed": 7,
        "max_parallel": 1,
    }
    return EvaluationCallback(ENV_ID, REPEAT, **defaults | options)
