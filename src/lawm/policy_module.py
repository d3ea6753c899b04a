"""Stage 2 as a LightningModule: actor-critic in imagination, in latent-action space."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter

from lawm.agent import LatentActionAgent
from lawm.continued_starts import ContinuedStarts
from lawm.dynamics_ensemble import DynamicsEnsemble, known_steps
from lawm.errors import LawmError
from lawm.fused.optimizer import FusedAdamW, clip_gradient_norm
from lawm.imagination import ImaginedTrajectory, LatentPolicy, imagine, rollout_reward
from lawm.networks import MLP
from lawm.optimizer import with_schedule
from lawm.policy_checkpoint import PolicyCheckpoint
from lawm.prior_weight import PriorWeight
from lawm.ranks import of_all_ranks
from lawm.returns import PercentileScale, arrival, lambda_returns
from lawm.rssm import ModelState
from lawm.spec import DataSpec
from lawm.support_constraint import ConstraintConfig, make_constraint
from lawm.world_model import WorldModel


class LatentPolicyModule(PolicyCheckpoint):
    """Trains a :class:`~lawm.imagination.LatentPolicy` inside a frozen world model.

    The actor follows the gradient of imagined lambda-returns through the dynamics (DreamerV2,
    Eq. 6 with rho = 0); the critic regresses on them; its EMA copy gives the values inside the
    returns.

    Args:
        world_model: Trained in stage 1; frozen here, and left out of this module's checkpoints.
        spec: The data set's shapes and units.
        constraint: Region around the prior.
        hidden: Width of actor and critic.
        num_layers: Their hidden layers.
        horizon: H, imagination steps.
        gamma: Discount per agent step.
        lambda_: Of the lambda-returns.
        entropy: Weight of the entropy bonus. A policy that must be noisy in imagination keeps away
            from what it can only just do, and so survives the model's errors in the environment.
        prior_weight: Weight of -log p(u|s): what leaves the prior must pay for it in return, which
            is scaled alike in all tasks; a step pays for itself, not in the value. A region alone
            needs another size for each task: too small, and a policy cannot do what the data
            rarely show; too large, and it exploits the model, so that returns rise and fall.
        prior_distance: Up to which distance of the policy's mode from the prior, half of its square
            in deviations, the weight falls; see :mod:`lawm.prior_weight`. 0: the weight stays.
        advantage_temperature: The prior is trained anew on the data before the policy is, weighted
            with exp(advantage / temperature), in deviations of the advantage: what turned out well
            counts more; see :mod:`lawm.advantage_weighted_prior`. None: the prior of stage 1, which
            imitates all data alike.
        advantage_updates: Of the prior then; those of the value behind the advantage are twice as
            many.
        target_rate: Share by which the target critic moves towards the critic at each update. Too
            slow, and the values lag behind for the whole stage: a short-sighted policy.
        learning_rate: Of Adam, actor and critic.
        gradient_clip: Greatest gradient norm, of actor and critic apart.
        cooldown: Share of the stage's updates over which the learning rate falls at the end. A
            policy that is trained further after its end cools down once more.
        continued_share: Of the rollouts of an update that go on where those of the update before
            ended, see :class:`~lawm.continued_starts.ContinuedStarts`; 0: all begin in the data.
        continued_steps: Steps that such a trajectory is expected to last.
        disagreement_quantile: Rollouts are cut where an ensemble that learned the dynamics from the
            data disagrees more than on this share of them, those it learned from, and the return
            goes on from the critic's value; None: never. See :mod:`lawm.dynamics_ensemble`.
        trials: Policies that are begun, of which the best in imagination goes on, see
            :class:`~lawm.callbacks.policy_trials.PolicyTrials`.
        trial_steps: Updates of each before that.

    Raises:
        LawmError: An ensemble is wanted, and the world model does not infer the actions it needs.

    Attributes:
        ensemble: See ``disagreement_quantile``; None until it was trained.
    """

    def __init__(
        self,
        world_model: WorldModel,
        spec: DataSpec,
        constraint: ConstraintConfig = ConstraintConfig(),
        hidden: int = 192,
        num_layers: int = 2,
        horizon: int = 15,
        gamma: float = 0.99,
        lambda_: float = 0.95,
        entropy: float = 3e-2,
        prior_weight: float = 0.15,
        prior_distance: float = 0.2,
        advantage_temperature: float | None = 0.5,
        advantage_updates: int = 1_500,
        target_rate: float = 0.1,
        learning_rate: float = 1e-3,
        gradient_clip: float = 10.0,
        cooldown: float = 0.5,
        continued_share: float = 0.5,
        continued_steps: int = 100,
        disagreement_quantile: float | None = None,
        trials: int = 1,
        trial_steps: int = 100,
    ) -> None:
        super().__init__("policy")
        self.save_hyperparameters(ignore=["world_model", "spec", "constraint"])
        self.save_hyperparameters({"spec": spec.to_dict(), "constraint": asdict(constraint)})
        self.spec = spec
        self.world_model = world_model.requires_grad_(False).eval()
        latent = world_model.latent_action.latent
        self.constraint = make_constraint(constraint.kind, latent, constraint.epsilon)
        features = world_model.rssm.feature_size
        self.policy = LatentPolicy(features, self.constraint.size, hidden, num_layers)
        self.critic = MLP(features, hidden, 1, num_layers, output_scale=0.0)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.scale = PercentileScale(least=world_model.reward_unit)
        self.horizon, self.gamma, self.lambda_ = horizon, gamma, lambda_
        self.entropy_coef = entropy
        self.prior_weight = PriorWeight(prior_weight, prior_distance)
        self.advantage_temperature = advantage_temperature
        self.advantage_updates = advantage_updates
        self.target_rate = target_rate
        self.learning_rate, self.gradient_clip = learning_rate, gradient_clip
        self.cooldown = cooldown
        if disagreement_quantile is not None and not world_model.transition_input.infers_actions:
            raise LawmError(
                "policy.disagreement_quantile needs every action, and a world model with "
                f"transition_input {world_model.config.transition_input} infers none. Leave one "
                "of the two out."
            )
        self.disagreement_quantile = disagreement_quantile
        self.ensemble: DynamicsEnsemble | None = None
        self.trials, self.trial_steps = trials, trial_steps
        self.continued = ContinuedStarts(continued_share, continued_steps, horizon)

    def value(self, critic: MLP, features: Tensor) -> Tensor:
        """v(s) in units of return. The network predicts (1 - gamma) v, of a reward's size."""
        out: Tensor = critic(features).squeeze(-1).float() / (1.0 - self.gamma)
        return out * self.world_model.reward_unit

    def compute_loss(self, start: ModelState) -> tuple[Tensor, dict[str, Tensor]]:
        """Actor and critic loss from a batch of start states, and what they are made of."""
        # Imagine under the policy; gradients flow through the frozen dynamics
        imagined = imagine(self.world_model, self.policy, self.constraint, start, self.horizon)
        end, deter = imagined.features[-1], start.h.shape[-1]
        known = known_steps(self.ensemble, self.world_model, self.constraint, imagined)
        goes_on = imagined.continuation.prod(dim=0) * known[-1]
        self.continued.keep(ModelState(end[:, :deter], end[:, deter:]), goes_on)

        # Lambda-returns with the target critic's values
        discount = self.gamma * imagined.continuation
        next_value = self.value(self.target_critic, imagined.after)
        lambda_: float | Tensor = self.lambda_  # as a number, for its rounding, where none is cut
        if self.ensemble is not None:
            lambda_ = self.lambda_ * torch.cat([known[1:], torch.ones_like(known[:1])])
        returns = lambda_returns(imagined.reward, discount, next_value, lambda_)
        scale = self.scale.update(self.scale.percentiles(self._of_all_ranks(returns)))

        # Actor: scaled returns less KL(pi||p), weighted with the probability of getting there
        weight = arrival(discount) * known / self._share(known).clamp_min(1e-6)
        objective = returns / scale + self.entropy_coef * imagined.entropy
        distance = self._of_all_ranks(imagined.mode_half_square.mean()[None]).mean()
        prior_weight = self.prior_weight.current()
        objective = objective - prior_weight * imagined.half_square
        actor_loss = -(weight * objective).mean()

        # Critic: regression on the same returns, features without history
        value = self.value(self.critic, imagined.features[:-1].detach())
        error = (value - returns.detach()) * (1.0 - self.gamma) / self.world_model.reward_unit
        critic_loss = (weight * 0.5 * error.square()).mean()

        logs = self._logs(imagined, returns, value, scale)
        logs |= {"prior_distance": distance, "prior_weight": prior_weight}
        logs |= {} if self.ensemble is None else {"known_share": known.mean()}
        loss = actor_loss + critic_loss
        return loss, {"loss": loss, "actor_loss": actor_loss, "critic_loss": critic_loss, **logs}

    @staticmethod
    def _logs(
        imagined: ImaginedTrajectory, returns: Tensor, value: Tensor, scale: Tensor
    ) -> dict[str, Tensor]:
        return {
            "imagined_reward": imagined.reward.mean(),
            "imagined_return": returns.mean(),
            "value": value.mean(),
            "return_scale": scale,
            "entropy": imagined.entropy.mean(),
            "half_square": imagined.half_square.mean(),
            "imagined_continuation": imagined.continuation.mean(),
        }

    def _of_all_ranks(self, values: Tensor) -> Tensor:
        """Without gradient, so that all ranks scale alike, and as one with all their starts would.

        A mean of the ranks' percentiles is not the percentile of them all.
        """
        is_alone = self._trainer is None or self.trainer.world_size == 1
        return values if is_alone else of_all_ranks(self.trainer, values)

    def _share(self, known: Tensor) -> Tensor:
        """Mean over the steps of all ranks, whose losses are averaged as if each had the same."""
        if self.ensemble is None:
            return known.mean()
        return self._of_all_ranks(known.mean()[None]).mean()

    def record(self, loss: Tensor, logs: dict[str, Tensor]) -> None:
        """As usual, and what the prior's weight will move by if the update is made."""
        super().record(loss, logs)
        self._distance = logs["prior_distance"].detach() if "prior_distance" in logs else None

    @torch.no_grad()
    def update_target(self) -> None:
        """Move the target critic towards the critic."""
        torch._foreach_lerp_(
            list(self.target_critic.parameters()),
            list(self.critic.parameters()),
            self.target_rate,
        )

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """The optimiser's step, the target's and the prior's weight's; a checkpoint holds them all.

        Lightning calls callbacks' ``on_train_batch_end`` before the module's, so a checkpoint
        callback would save the step without the target's move if it happened there.
        """
        super().optimizer_step(*args, **kwargs)
        self.update_target()
        if self._distance is not None:  # a loss of a subclass may not tell it
            self.prior_weight.update(self._distance)

    def train(self, mode: bool = True) -> LatentPolicyModule:
        """As usual, but the frozen world model stays in evaluation mode (dropout off)."""
        super().train(mode)
        self.world_model.eval()
        return self

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's union is private)
        """One Adam for actor and critic: one backward pass works under plain DDP.

        What a subclass adds is trained as they are.
        """
        parts = self._parts([p for p in self.parameters() if p.requires_grad])
        parameters = [p for part in parts for p in part]
        optimizer = FusedAdamW(parameters, lr=self.learning_rate, weight_decay=0.0)
        total = self.trainer.max_steps if self._trainer is not None else -1
        return with_schedule(optimizer, total, cooldown=self.cooldown)

    def clip_gradient_norm(self, optimizer: torch.optim.Optimizer, limit: float | None) -> Tensor:
        """Clips actor and critic apart: the size of one must not throttle the other."""
        del limit  # of each is `gradient_clip`
        # the optimiser's: to walk all modules, also the world model's, takes longer than to clip
        parts = self._parts([p for group in optimizer.param_groups for p in group["params"]])
        norms = [clip_gradient_norm(part, self.gradient_clip) for part in parts]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return norm

    def _parts(self, parameters: list[Parameter]) -> list[list[Parameter]]:
        """Parameters of the actor, of the critic, and others, if a subclass has some."""
        parts = [list(part.parameters()) for part in (self.policy, self.critic)]
        apart = {id(p) for part in parts for p in part}
        others = [p for p in parameters if id(p) not in apart]
        return [*parts, others] if others else parts

    def agent(self) -> LatentActionAgent:
        """The policy as it is now, sharing weights, for evaluation in an environment."""
        return LatentActionAgent(self.world_model, self.policy, self.constraint)

    def imagined_transitions(self, start: ModelState) -> int:
        """Of an update from these start states."""
        return len(start.h) * self.horizon

    def rollout_reward(self, start: ModelState, num_steps: int) -> Tensor:
        """See :func:`lawm.imagination.rollout_reward`."""
        return rollout_reward(self.world_model, self.policy, self.constraint, start, num_steps)

    @torch.inference_mode()
    def start_value(self, obs: dict[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        """The critic's v at the first filtered state of n episodes.

        To be compared with the true discounted return from there, see
        :meth:`lawm.evaluation_result.EvaluationResult.discounted_returns`.

        Args:
            obs: First observations by key, each ``(n, *shape)``, in the environment's units.

        Returns:
            ``(n,)``, in units of return.
        """
        features = self.agent().first_state(obs).features
        value: NDArray[np.float32] = self.value(self.critic, features).cpu().numpy()
        return value


__all__ = ["LatentPolicyModule"]
