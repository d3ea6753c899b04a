"""What the stages logged: losses, imagination, speed."""

from __future__ import annotations

from lawm.html_report.run_record import RunRecord
from lawm.html_report.svg_figure import (
    INK,
    SERIES,
    Figure,
    Line,
    SmallPanel,
    small_panels,
)

LABELLED, FREE, HELD_OUT, PLAIN = SERIES[0], SERIES[1], SERIES[2], SERIES[0]
_TERMS = {  # of the losses, as `world_model/labelled/...`, `.../action_free/...`, `held_out/...`
    "observation": "observation, nats a step",
    "state_kl_nats": "KL of the state, nats a step",
    "latent_action_kl": "KL of the latent action, nats a step",
    "action": "action from q_act, nats a step",
    "align_action": "action from q_free, nats a step",
    "align_kl": "KL(q_act || q_free), nats a step",
    "reward": "reward, squared error / 2 sigma²",
    "continuation": "continuation, nats a step",
}
_POLICY = {
    "imagined_return": "imagined λ-return",
    "value": "critic's value",
    "imagined_reward": "imagined reward a step",
    "return_scale": "return scale, 95th - 5th percentile",
    "entropy": "entropy, nats",
    "known_share": "share of imagined steps before a cut",
    "actor_loss": "actor loss",
    "critic_loss": "critic loss",
    "imagined_continuation": "imagined continuation",
}


def world_model_figure(run: RunRecord) -> Figure | None:
    """The losses of stage 1 by source, with those of the held-out episodes."""
    curves = run.curves("world_model")
    panels = []
    if "world_model/loss" in curves:
        panels.append(SmallPanel("total loss", [Line("", curves["world_model/loss"], INK)]))
    for term, title in _TERMS.items():
        lines = [
            Line("", curves[name], colour)
            for name, colour in (
                (f"world_model/action_free/{term}", FREE),
                (f"world_model/labelled/{term}", LABELLED),
                (f"held_out/{term}", HELD_OUT),
            )
            if name in curves and curves[name].values.any()  # a term that does not apply is zero
        ]
        if lines:
            panels.append(SmallPanel(title, lines))
    if not panels:
        return None
    title = "Losses of the world model"
    caption = (
        "Means since the last point. The scale leaves out the first twentieth of the updates. "
        "Good: all fall and level off, labelled and action-free rows alike. Bad: the held-out line "
        "turns up while the labelled one falls, which is over-fit of the few labels; the "
        "latent action's KL goes to zero (collapse), or runs far above that of the labelled rows "
        "(leak)."
    )
    legend = [
        ("labelled", LABELLED, "-"),
        ("action-free", FREE, "-"),
        ("held out", HELD_OUT, "-"),
    ]
    return Figure(title, small_panels(panels, "updates of the world model", title), caption, legend)


def policy_figure(run: RunRecord) -> Figure | None:
    """What stage 2 logged."""
    curves = run.curves("policy")
    panels = [
        SmallPanel(title, [Line("", curves[f"policy/{name}"], PLAIN)])
        for name, title in _POLICY.items()
        if f"policy/{name}" in curves
    ]
    if not panels:
        return None
    title = "Policy, in imagination"
    caption = (
        "All of it happens inside the world model: a rising imagined return is no proof, compare "
        "it with the return in the environment. Good: return and value rise together and level "
        "off. Bad: the imagined return climbs on after the true one has stopped; the entropy "
        "collapses within the first updates."
    )
    return Figure(title, small_panels(panels, "updates of the policy", title), caption)


def throughput_figure(run: RunRecord) -> Figure | None:
    """Speed along both stages."""
    panels = []
    names = {
        "updates_per_second": "updates a second",
        "transitions_per_second": "transitions a second",
        "data_wait_share": "share of time spent waiting for data",
    }
    colours = dict(zip(run.stages, SERIES, strict=False))
    for name, title in names.items():
        lines = [
            Line("", stage.curves[f"throughput/{name}"], colours[stage.name])
            for stage in run.stages.values()
            if f"throughput/{name}" in stage.curves
        ]
        if lines:
            panels.append(SmallPanel(title, lines))
    if not panels:
        return None
    title = "Speed"
    caption = (
        "Good: level lines, and a share of waiting near zero. Bad: a speed that falls along the "
        "run (another process on the machine, or memory that runs out), or a share of waiting "
        "above a tenth: see the page on data loading."
    )
    legend = [(stage.replace("_", " "), colour, "-") for stage, colour in colours.items()]
    return Figure(title, small_panels(panels, "updates of the stage", title), caption, legend)


def other_figure(run: RunRecord) -> Figure | None:
    """Every logged curve that no figure above shows."""
    shown = {f"held_out/{term}" for term in _TERMS} | {
        f"world_model/{source}/{term}" for term in _TERMS for source in ("labelled", "action_free")
    }
    shown |= {f"policy/{name}" for name in _POLICY} | {"world_model/loss", "epoch"}
    shown |= {
        f"held_out/{name}"
        for name in (
            *("action_r2_inverse", "action_r2_action", "shuffled_latent_ratio", "open_loop_error"),
            *("open_loop_error_true_actions", "copy_last_frame_error"),
        )
    }
    panels = [
        SmallPanel(name.replace("$", r"\$"), [Line("", curve, PLAIN)])
        for stage in run.stages.values()
        for name, curve in sorted(stage.curves.items())
        if name not in shown and not name.startswith(("throughput/", "evaluation/"))
    ]
    if not panels:
        return None
    title = "Other numbers that were logged"
    caption = "By the names they have in TensorBoard and in metrics.csv."
    return Figure(title, small_panels(panels[:60], "updates of the stage", title), caption)


__all__ = ["other_figure", "policy_figure", "throughput_figure", "world_model_figure"]
