"""What every page of `lawm report` must keep, and run folders for it that cost no training."""

from __future__ import annotations

import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "hr", "input", "link"}
ADDRESSES = {"src", "href", "xlink:href", "srcset", "poster", "data", "action", "background"}
CONFIG = """\
name: tiny
seed: {seed}
data: {{shards: [tiny.h5], labels: 50%}}
stages: {{world_model: {{max_steps: 20}}, policy: {{max_steps: 10}}}}
"""
PANEL = {
    "verdict": "usable",
    "reason": "Held-out R² of the action 0.90, shuffled: 9.64 times the error, 1 of 2 dimensions "
    "active.",
    "action_r2_inverse": 0.897,
    "action_r2_action": 0.968,
    "rate_inverse": [0.8, 0.01],
    "rate_action": [0.7, 0.01],
    "shuffled_ratio": 9.64,
    "error_ratio": 0.94,
    "open_loop_error": 0.0855,
    "copy_last_frame_error": 1.27,
    "active_parts": 1,
}
EVALUATION = (
    "step,final,mean,std,normalised,discounted_return,imagined_value,returns,seconds,error\n"
)


class Page(HTMLParser):
    """A page, taken apart; tags that are not closed in order fail.

    Attributes:
        tags: How often each occurs.
        attributes: Every (tag, name, value).
        text: All text outside of scripts and styles.
        scripts: The text of each script.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, names)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._open and self._open[-1] == tag, (tag, self._open[-4:], self.getpos())
        self._open.pop()

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif not self._open or self._open[-1] != "style":
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value for _, found, value in self.attributes if found == name]


def check_page(html: str) -> Page:
    """Well-formed, unambiguous, and it can fetch nothing and run nothing but its own script."""
    page = Page(html)
    ids = Counter(page.values("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ADDRESSES:
            assert value.startswith(("#", "data:image/", "data:video/", "./")), (tag, value[:80])
            assert not value.startswith("#") or value[1:] in ids, value
        if name == "style":
            assert "url(" not in value.replace("url(#", ""), value
    assert len(page.scripts) == 1
    assert not {"iframe", "object", "embed", "link", "base", "form"} & set(page.tags)
    (policy,) = [v for t, n, v in page.attributes if n == "content" and "default-src" in v]
    assert "default-src 'none'" in policy
    for svg_text in ("<metadata", "<style type", "DejaVu"):
        assert svg_text not in html
    assert page.tags["figure"] == page.tags["figcaption"]
    return page


def write_run(
    path: Path,
    returns: tuple[float, ...] = (100.0, 300.0, 200.0),
    seed: int = 0,
    env_id: str = "tiny/line",
    is_done: bool = True,
) -> Path:
    """A run folder with files as `lawm fit` writes them; the last return is the final one."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(CONFIG.format(seed=seed))
    rows = [
        f"{5 * (i + 1)},{int(is_done and i == len(returns) - 1)},{value},10.0,0.5,3.0,4.0,"
        f"{value - 10} {value + 10},1.0,\r\n"
        for i, value in enumerate(returns)
    ]
    if rows:
        (path / "evaluation.csv").write_text(EVALUATION + "".join(rows))
    for stage, steps in (("world_model", 20), ("policy", 10)):
        (path / stage / "checkpoints").mkdir(parents=True)
        (path / stage / "metrics.csv").write_text(
            f"step,{stage}/loss,held_out/action_r2_inverse\n10,2.5,0.7\n20,1.5,0.8\n"
        )
        if is_done:
            done = {"fingerprint": "a", "global_step": steps, "seconds": 1800.0}
            (path / stage / "DONE").write_text(json.dumps(done))
    (path / "world_model" / "panel.json").write_text(json.dumps(PANEL))
    data = {
        "environment": env_id,
        "labelled episodes": 5,
        "action-free episodes": 6,
        "held-out episodes": 1,
        "return mean": 50.0,
        "return best": 250.0,
    }
    start = {"command": "lawm fit --config c.yaml", "working_folder": "/w", "commit": "abc123"}
    (path / "provenance.json").write_text(json.dumps({"data": data, "starts": [start]}))
    return path


__all__ = ["CONFIG", "EVALUATION", "PANEL", "Page", "check_page", "write_run"]
