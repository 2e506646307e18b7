# SPDX-License-Identifier: Apache-2.0
"""Loaded plans come before the library's own choice, until they are forgotten; a file that is wrong changes nothing."""

import json

import pytest

import billfish

SHAPE = (48, 4096, 4096)


@pytest.fixture(autouse=True)
def forgotten():
    yield
    billfish.load_plans(None)


def plan(**options):
    return billfish.explain_json(*SHAPE, group_size=128, device="sm_90", **options)["plan"]


def file_with(path, chosen):
    details = ("warps_k", "run_steps", "steps_per_split", "reduce_dependent")
    names = ("implementation", "policy", "tile_m", "tile_n", "splits", "cluster", "threads", "blocks")
    entry = {"type": "u4b8", "act": "f16", "m_from": SHAPE[0], "m_to": SHAPE[0], "n": SHAPE[1], "k": SHAPE[2], "group": 128}
    entry |= {"zeroed_workspace": False, "dependent_launch": False}
    entry["plan"] = {name: chosen[name] for name in names} | {"detail": [chosen[name] for name in details]}
    device = {"kind": "cuda", "architecture": 90, "multiprocessors": 132}
    path.write_text(json.dumps({"schema": 1, "device": device, "plans": [entry]}))
    return path


def test_a_loaded_plan_counts_until_it_is_forgotten(tmp_path):
    before, other = plan(), plan(implementation="sm80")
    assert before["implementation"] == "sm90" and not before["tuned"]
    path = file_with(tmp_path / "plans.json", other)
    billfish.load_plans(path)
    assert plan()["implementation"] == "sm80" and plan()["tuned"]
    for wrong, error in ((tmp_path / "missing.json", FileNotFoundError), (str(tmp_path), ValueError)):
        with pytest.raises(error) as raised:
            billfish.load_plans(wrong)
        assert str(wrong) in str(raised.value)
    assert plan()["tuned"]
    billfish.load_plans(None)
    assert plan() == before
    billfish.load_plans(str(path))
    assert plan()["tuned"]


def test_what_is_no_path_is_refused():
    with pytest.raises(TypeError):
        billfish.load_plans(3)
