from __future__ import annotations

import pytest

from lawm.cli.known_keys import (
    SET_BY_LAWM,
    check_config_file,
    check_options,
    nearest_names,
    require_known,
)
from lawm.errors import LawmError

KNOWN = {"seed", "data.window", "data.shards", "world_model.learning_rate", "policy.learning_rate"}


def write(folder, text):
    path = folder / "a.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("data.windw", ["data.window"]),
        ("world_model.learning_rte", ["world_model.learning_rate"]),
        ("learning_rate", ["policy.learning_rate", "world_model.learning_rate"]),
        ("trainer.window", ["data.window"]),
        ("widow", ["data.window"]),
        ("zzz", []),
    ],
)
def test_nearest_names(key, names):
    assert nearest_names(key, KNOWN) == names


def test_an_unknown_key_names_its_place_and_the_nearest():
    with pytest.raises(LawmError, match=r"^here sets `data.windw`.*Did you mean `data.window`\?"):
        require_known("data.windw", KNOWN, "here")


def test_a_key_without_a_neighbour_points_to_the_help():
    with pytest.raises(LawmError, match=r"See `lawm fit --help`"):
        require_known("zzz", KNOWN, "here")


@pytest.mark.parametrize("key", ["seed", "data", "data.window", "data.window.init_args.x"])
def test_known_keys_their_groups_and_their_parts_pass(key):
    require_known(key, KNOWN, "here")


@pytest.mark.parametrize("key", sorted(SET_BY_LAWM))
def test_what_lawm_sets_itself_is_refused_with_the_reason(key):
    with pytest.raises(LawmError, match=r"not a setting of lawm: .+\.$"):
        require_known(key, KNOWN, "here")


def test_options_of_all_spellings_are_checked():
    check_options(
        ["--seed=1", "--data.shards+", "a.h5", "-c", "x.yaml", "--data.window", "3"], KNOWN
    )
    with pytest.raises(LawmError, match="the command line sets `sed`"):
        check_options(["--sed=1"], KNOWN)


def test_a_config_file_is_read(tmp_path):
    path = write(tmp_path, "seed: 3\ndata: {window: 8, shards: [a.h5]}\n")
    assert check_config_file(path, KNOWN) == {"seed": 3, "data": {"window": 8, "shards": ["a.h5"]}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {windw: 8}", r"a\.yaml sets `data\.windw`"),
        ("data: [1, 2\nseed: 3", r"a\.yaml, line \d is not valid YAML: .+"),
        ("- 1\n- 2", r"a\.yaml holds list where `key: value` pairs were expected"),
        ("", r"a\.yaml is empty; expected settings"),
    ],
)
def test_a_bad_config_file_is_refused(text, message, tmp_path):
    with pytest.raises(LawmError, match=message):
        check_config_file(write(tmp_path, text), KNOWN)


def test_a_binary_config_file_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(LawmError, match="is not valid YAML"):
        check_config_file(path, KNOWN)


def test_a_missing_config_file_names_those_that_are_there(tmp_path):
    write(tmp_path, "seed: 1")
    with pytest.raises(LawmError, match=r" is a folder; expected .*such as .*/a\.yaml\."):
        check_config_file(tmp_path, KNOWN)
    with pytest.raises(LawmError, match=r"b\.yaml does not exist.*such as .*/a\.yaml\."):
        check_config_file(tmp_path / "b.yaml", KNOWN)
