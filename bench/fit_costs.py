#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fits the cost tables of src/cuda/sm90/wgmma_cost.cpp to what `billfish tune` measured.

  billfish tune --device cuda --shapes h200 --m 64,128,256,512 --out plans.json               on the GPU
  bench/fit_costs.py plans.json... [--seconds 120] [--write]                                  anywhere

A file that is given twice counts twice. The tables there are from
  m-16-32.json m-16-32-before.json m-64-512.json m-48-1024.json pairs.json pairs.json few.json
  of bench/results/nvidia-h200-2026-11-23-tune, --seconds 120. few.json: the problems of small.txt; pairs.json: what `billfish bench` took
  with the plans of two sets of tables, where they differ. Search M of up to 32 apart from larger ones: where heavy cells come in between,
  the chip comes to them from its power limit and has not recovered.

What counts is the pick, not the time. A pick is no smooth function of the tables, so that each candidate gets a share of its problem, the
more the faster the model has it, and what is made small is the shares' mean slowness, by its gradient (L-BFGS), in rounds that give ever
larger shares to the fastest. Then again from tables near the best found so far, until the time is up. Prints how far the picks are off the
best, for callers with a workspace of zeros and without one, before and after; --write puts the tables into the source (clang-format them).

The model is written down twice, here and in wgmma_cost.cpp; `--check` holds the two against each other through a built tool:
  bench/fit_costs.py plans.json --check build/bin/billfish
Needs numpy and scipy, which nothing else here does.
"""

import argparse
import json
import math
import pathlib
import re
import subprocess
import sys
import time

try:
    import numpy as np
    from scipy.optimize import minimize
except ImportError as error:
    sys.exit(f"fit_costs: {error}: python3 -m venv .venv-fit && .venv-fit/bin/pip install numpy scipy, and run it by that python")

ROOT = pathlib.Path(__file__).resolve().parent.parent
COSTS = ROOT / "src/cuda/sm90/wgmma_cost.cpp"
POLICIES = ROOT / "src/cuda/sm90/wgmma_policy.hpp"
SHAPES = ROOT / "bench/shapes/h200.txt"
MULTIPROCESSORS = 132
SECOND_TILE = 1.5  # kSecondTile
TOKEN_TILES_DEEP = 8  # kTokenTilesDeep
DIGITS = 3  # of the numbers in the source: a pick may hang on the last
CLUSTER, SHARED = "kClusterCosts[", "kSharedCosts["
MOST = [20, 5, 3, 3, 30, 6, 1.2, 5]  # of a ClusterCost's numbers
LEAST = 1e-3  # of any number, while it is fitted
# How often the layers of bench/shapes/h200.txt count at an M: the rows of the benchmark's table, and what lies between them.
COUNT = {16: 5, 32: 4, 48: 1.5, 64: 4, 96: 1.5, 128: 6, 192: 1.5, 256: 4, 512: 4, 1024: 3, 4096: 0.7}
WITHOUT = 0.35  # callers without a workspace of zeros count so much
# Shares fall by e for so much slowness; how much closeness to the measured times counts; steps. The last is all but the pick itself.
ROUNDS = ((0.03, 0.2, 60), (0.012, 0.1, 100), (0.006, 0.1, 100), (0.003, 0.05, 60), (0.0015, 0.05, 60))


def ceil_div(value, by):
    return -(-value // by)


def geometric(values):
    return math.exp(np.mean(np.log(values)))


def layers_of(file):
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {(int(k), int(n)) for k, n, *_ in lines}


class Policy:
    def __init__(self, name, fields):
        self.name = name
        self.tokens, self.stage_k = int(fields["tokens"]), int(fields["stage_k"])
        self.columns = 64 * int(fields["tiles"]) * int(fields["groups"])
        self.blocks_per_sm, self.abreast = int(fields["blocks_per_sm"]), int(fields["abreast"])

    def work(self, m, k, n):
        """Tiles, and stages of each."""
        return ceil_div(m, self.tokens) * ceil_div(n, self.columns * self.abreast), ceil_div(k, self.stage_k)

    def deep(self, m):
        """Tiles along M that need the same weights side by side."""
        return min(ceil_div(m, self.tokens), TOKEN_TILES_DEEP)


def read_policies():
    text = POLICIES.read_text(encoding="utf-8")
    body = text[text.index("kConfigs[] = {") :]
    configs = re.findall(r"\{(\.tokens[^}]*)\}", body[: body.index("};")])
    names = re.findall(r'"([^"]+)"', re.search(r"kPolicyNames\[kPolicies\] = \{([^}]*)\}", text).group(1))
    assert len(configs) == len(names)
    defaults = dict(re.findall(r"\n  int (\w+) = (\d+);", text[: text.index("kConfigs[] = {")]))
    return {name: Policy(name, defaults | dict(re.findall(r"\.(\w+) = (\w+)", config))) for name, config in zip(names, configs)}


def table_of(text, name):
    begin = text.index("= {", text.index(name)) + 3
    return begin, text.index("};", begin)


def read_costs(policies):
    text = COSTS.read_text(encoding="utf-8")
    resident = [[int(v) for v in row.split(",")] for row in re.findall(r"\{([\d, ]+)\}", re.search(r"kResident.*?;", text, re.S).group(0))]
    tables = {}
    for kind in (CLUSTER, SHARED):
        begin, end = table_of(text, kind)
        rows = [line for line in text[begin:end].splitlines() if "{" in line]
        assert len(rows) == len(policies), f"{kind} has {len(rows)} rows, there are {len(policies)} variants"
        for policy, row in zip(policies, rows):
            found = [[float(v) for v in group.split(",")] for group in re.findall(r"\{([\d., ]+)\}", row)]
            if kind == CLUSTER:
                tables[policy, "cluster"] = np.array(found[0])
            else:
                for i, values in enumerate(found):
                    tables[policy, i + 1] = np.array(values)
    return tables, resident


def shared_features(policy, problem, blocks):
    """What shared_time multiplies a SharedCost's numbers with."""
    tiles, items = policy.work(*problem)
    parts = blocks // policy.abreast
    rest = tiles % parts
    shared = min(tiles, rest + parts) if rest else 0
    stages = ends = (tiles - shared) // parts
    stages *= items
    can_deal = shared <= parts and ceil_div(parts, shared) <= items
    if can_deal and ceil_div(items, parts // shared) <= shared * items / parts + SECOND_TILE:
        stages += ceil_div(items, parts // shared)
        return [1, stages, ends + 1, ceil_div(parts, shared) - 1, stages / policy.deep(problem[0])]
    stages += ceil_div(shared * items, parts)
    return [1, stages, ends + shared / parts + 1, ceil_div(parts, shared), stages / policy.deep(problem[0])]


def cluster_features(policy, problem, splits, resident):
    """What cluster_time is a function of, but for the costs."""
    tiles, items = policy.work(*problem)
    multiprocessors = MULTIPROCESSORS / policy.abreast
    blocks, places = tiles * splits, resident[policy.blocks_per_sm - 1][splits * policy.abreast - 1] * multiprocessors / 132
    return [ceil_div(items, splits), blocks / multiprocessors, blocks / places, policy.deep(problem[0]), splits > 1]


def cluster_time(cost, policy, features):
    """Of all rows of `features` at once."""
    fixed, stage, busy, shared, block, late, slack, memory = cost
    stages, load, rounds, deep, is_split = features.T
    stage = stage + memory / deep
    if policy.blocks_per_sm == 1:
        end = block * np.where(is_split, 1.0, shared)
        return fixed + (stages * stage * (1 + busy * np.minimum(1.0, load)) + end) * np.ceil(rounds)
    slower = 1 + busy * np.minimum(load, 1.0)
    slower = slower * (1 + shared * np.clip(load - 1, 0.0, 1.0)) * np.maximum(load / 2, 1.0)
    slower = slower * np.where(load < 2, 1 + late * np.clip(rounds - slack, 0.0, 1.0), 1.0)
    return fixed + (stages * stage + block * np.where(is_split, 1.0, 0.5)) * slower


def plans_of(file):
    try:
        return json.loads(pathlib.Path(file).read_text(encoding="utf-8"))["plans"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"fit_costs: {file} is not a file of `billfish tune`: {error}")


def at_length(candidates):
    """How much slower a candidate is when it is timed at length, by those that were (a glance is over before the chip is hot: 5 to 10 %
    faster at large M), and the fastest of these, which no other is taken to beat."""
    both = [row for row in candidates if row["us"] and row["us_quick"]]
    if not both:
        return 1.0, 0.0
    return float(np.median([row["us"] / row["us_quick"] for row in both])), min(row["us"] for row in both)


class Measured:
    """Candidates of all problems, those of a problem side by side. A problem of two files is two: times of two runs do not compare."""

    def __init__(self, files, policies):
        found = {}
        for which, argument in enumerate(files):
            file, _, names = argument.partition("=")
            counted = names.split(",") if names else list(policies)
            unknown = sorted(set(counted) - set(policies))
            if unknown:
                sys.exit(f"fit_costs: {argument}: no variant is named {', '.join(unknown)}: there are {', '.join(policies)}")
            for plan in plans_of(file):
                problem = (plan["m_to"], plan["k"], plan["n"])
                candidates = [dict(zip(plan["candidates"]["columns"], values)) for values in plan["candidates"]["rows"]]
                slower, least = at_length(candidates)
                for row in candidates:
                    us = row["us"] or max(row["us_quick"] * slower, least if row["us_quick"] else 0)
                    if not us or row["policy"] not in counted:
                        continue
                    policy = policies[row["policy"]]
                    is_shared = row["detail"][2] > 0
                    table = (policy.name, ceil_div(row["blocks"], MULTIPROCESSORS) if is_shared else "cluster")
                    ways = row["blocks"] if is_shared else row["cluster"] // policy.abreast
                    found.setdefault((problem, which), []).append((table, ways, us))
        # A large M's times say what larger ones take: without them nothing holds the model beyond what was measured.
        if not found:
            sys.exit("fit_costs: no candidate of the sm90 family was timed in these files")
        most = max(problem[0] for problem, _ in found)
        for problem, which in [key for key in found if key[0][0] == most]:
            rows = [(table, ways, 4 * us) for table, ways, us in found[problem, which] if table[1] != "cluster" or ways == 1]
            if rows:
                found[(4 * most, *problem[1:]), which] = rows
        keys = sorted(key for key in found if any(table[1] == "cluster" for table, _, _ in found[key]))
        self.problems = [problem for problem, _ in keys]
        self.rows = [(i, *row) for i, key in enumerate(keys) for row in found[key]]
        self.owner = np.array([row[0] for row in self.rows])
        self.us = np.array([row[3] for row in self.rows])
        self.in_cluster = np.array([row[1][1] == "cluster" for row in self.rows])
        self.starts = np.searchsorted(self.owner, np.arange(len(self.problems)))
        self.best = np.minimum.reduceat(self.us, self.starts)
        self.best_in_cluster = np.minimum.reduceat(np.where(self.in_cluster, self.us, np.inf), self.starts)
        self.groups = {}
        for j, row in enumerate(self.rows):
            self.groups.setdefault(row[1], []).append(j)


class Fit:
    def __init__(self, measured, policies, tables, resident):
        self.data, self.policies = measured, policies
        self.tables = {table: values.copy() for table, values in tables.items()}
        self.features = {}
        for table, rows in measured.groups.items():
            of = []
            for problem, ways in [(measured.problems[measured.rows[j][0]], measured.rows[j][2]) for j in rows]:
                if table[1] == "cluster":
                    of.append(cluster_features(policies[table[0]], problem, ways, resident))
                else:
                    of.append(shared_features(policies[table[0]], problem, ways))
            self.features[table] = np.array(of, dtype=float)
        # A variant that was only timed with more tokens than a tile of it has is not for what was timed: its table stays.
        self.fitted = []
        for table, rows in measured.groups.items():
            if any(policies[table[0]].deep(measured.problems[measured.rows[j][0]][0]) == 1 for j in rows):
                self.fitted.append(table)
        layers = layers_of(SHAPES)
        count = np.array([COUNT.get(m, 1) if (k, n) in layers else 1 for m, k, n in measured.problems])
        self.count = count / count.sum()
        self.slow = np.log(measured.us / measured.best[measured.owner])
        self.slow_in_cluster = np.log(measured.us / measured.best_in_cluster[measured.owner])
        near = np.exp(-8 * self.slow)
        self.near = near / near.sum()
        self.model = np.zeros(len(measured.rows))
        self.refresh()

    def times(self, table, cost):
        policy, features = self.policies[table[0]], self.features[table]
        return features @ cost if table[1] != "cluster" else cluster_time(cost, policy, features)

    def refresh(self):
        for table, rows in self.data.groups.items():
            self.model[rows] = self.times(table, self.tables[table])

    def slopes(self, table, cost, times):
        """Of the times of a table's candidates, by the logarithms of its numbers."""
        if table[1] != "cluster":
            return self.features[table] * cost
        by = []
        for i, value in enumerate(cost):
            step = max(1e-5, value * 1e-4)
            by.append((self.times(table, cost + step * (np.arange(len(cost)) == i)) - times) / step * value)
        return np.array(by).T

    def shared_out(self, logs, slow, sharpness, among):
        """Mean slowness of shares, and its gradient by the logarithms of the model's times."""
        starts, owner = self.data.starts, self.data.owner
        fast = np.where(among, -logs / sharpness, -1e9)
        share = np.exp(fast - np.maximum.reduceat(fast, starts)[owner])
        share /= np.add.reduceat(share, starts)[owner]
        mean = np.add.reduceat(share * slow, starts)
        return np.sum(self.count * mean), -share * (slow - mean[owner]) / sharpness * self.count[owner]

    def loss(self, logs_of_costs, sharpness, closeness):
        self.set_tables(logs_of_costs)
        self.refresh()
        logs = np.log(np.maximum(self.model, LEAST))
        whole, by_whole = self.shared_out(logs, self.slow, sharpness, True)
        part, by_part = self.shared_out(logs, self.slow_in_cluster, sharpness, self.data.in_cluster)
        off = logs - np.log(self.data.us)
        distance = np.sqrt(off * off + 1e-4)
        by = (by_whole + WITHOUT * by_part + closeness * self.near * off / distance) / self.model
        slopes = []
        for table in self.fitted:
            rows = self.data.groups[table]
            slopes.append(by[rows] @ self.slopes(table, self.tables[table], self.model[rows]))
        return whole + WITHOUT * part + closeness * np.sum(self.near * distance), np.concatenate(slopes)

    def set_tables(self, logs_of_costs, digits=None):
        ends = np.cumsum([len(self.tables[table]) for table in self.fitted])
        for table, logs in zip(self.fitted, np.split(logs_of_costs, ends[:-1])):
            self.tables[table] = np.exp(logs) if digits is None else np.exp(logs).round(digits)

    def search(self, seconds):
        most = np.concatenate([np.log(MOST) if table[1] == "cluster" else np.full(len(self.tables[table]), 4.0) for table in self.fitted])
        here = np.log(np.maximum(np.concatenate([self.tables[table] for table in self.fitted]), 2 * LEAST))
        random, best, least, began, rounds = np.random.default_rng(7), None, math.inf, time.monotonic(), ROUNDS
        while best is None or time.monotonic() - began < seconds:
            if best is not None:
                here, rounds = best + random.normal(size=len(best)) * random.choice([0.02, 0.06, 0.15]), ROUNDS[1:]
            for sharpness, closeness, steps in rounds:
                here = np.clip(here, math.log(LEAST), most)
                bounds = [(math.log(LEAST), one) for one in most]
                here = minimize(self.loss, here, (sharpness, closeness), "L-BFGS-B", True, bounds=bounds, options={"maxiter": steps}).x
                self.set_tables(here, DIGITS)
                self.refresh()
                if self.score() < least:
                    best, least = here.copy(), self.score()
        self.set_tables(best, DIGITS)
        self.refresh()

    def picks(self):
        """(with zeros, without): time of the model's pick over the best, by problem."""
        data = self.data
        return self.pick(self.model) / data.best, self.pick(np.where(data.in_cluster, self.model, np.inf)) / data.best_in_cluster

    def pick(self, times):
        least = np.minimum.reduceat(times, self.data.starts)
        return np.minimum.reduceat(np.where(times == least[self.data.owner], self.data.us, np.inf), self.data.starts)

    def score(self):
        with_zeros, without = self.picks()
        return np.sum(self.count * np.log(with_zeros)) + WITHOUT * np.sum(self.count * np.log(without))

    def report(self, what):
        with_zeros, without = self.picks()
        print(f"{what}: picks over the best, with a workspace of zeros {geometric(with_zeros):.3f}, without {geometric(without):.3f}")
        for m in sorted({problem[0] for problem in self.data.problems}):
            at = [i for i, problem in enumerate(self.data.problems) if problem[0] == m]
            print(f"  M = {m:5d}  {geometric([with_zeros[i] for i in at]):.3f}  {geometric([without[i] for i in at]):.3f}")


def text_of(tables, policies, kind):
    lines = []
    for name, policy in policies.items():
        if kind == CLUSTER:
            lines.append("    {" + ", ".join(f"{v:.{DIGITS}f}" for v in tables[name, "cluster"]) + f"}},  // {name}")
        else:
            groups = ["{" + ", ".join(f"{v:.{DIGITS}f}" for v in tables[name, i + 1]) + "}" for i in range(policy.blocks_per_sm)]
            lines.append("    {" + ", ".join(groups + ["{}"] * (2 - len(groups))) + f"}},  // {name}")
    return "\n" + "\n".join(lines) + "\n"


def check(fit, tool):
    """The pick of the tables in the source, by this program and by the tool that was built from it."""
    wrong = 0
    fit.refresh()
    ends = np.append(fit.data.starts[1:], len(fit.data.rows))
    for (m, k, n), begin, end in zip(fit.data.problems, fit.data.starts, ends):
        command = [tool, "explain", "--device", "sm_90", "--m", m, "--n", n, "--k", k, "--dependent-launch", "--zeroed-workspace", "--json"]
        plan = json.loads(subprocess.run([str(word) for word in command], capture_output=True, check=True, text=True).stdout)["plan"]
        ours = fit.data.rows[begin + np.argmin(fit.model[begin:end])][1][0]
        if plan["policy"] in fit.policies and plan["policy"] != ours:
            wrong += 1
            print(f"M = {m}, {k} x {n}: the tool picks {plan['policy']}, this program {ours}")
    print(f"{wrong} of {len(fit.data.problems)} picks differ (candidates that were slow at a glance have no time, so that a few may)")
    return 1 if wrong > len(fit.data.problems) // 10 else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", nargs="+", help="files of `billfish tune`; FILE=VARIANT,... of these alone")
    parser.add_argument("--seconds", type=float, default=120, help="of the search")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {COSTS.relative_to(ROOT)}")
    parser.add_argument("--check", metavar="TOOL", help="only hold this model against a built billfish")
    options = parser.parse_args()
    policies = read_policies()
    tables, resident = read_costs(policies)
    measured = Measured(options.plans, policies)
    fit = Fit(measured, policies, tables, resident)
    fit.report(f"{len(measured.problems)} problems, {len(measured.rows)} candidates; as it is")
    if options.check:
        return check(fit, options.check)
    fit.search(options.seconds)
    fit.report("fitted")
    text = COSTS.read_text(encoding="utf-8")
    for kind in (CLUSTER, SHARED):
        begin, end = table_of(text, kind)
        text = text[:begin] + text_of(fit.tables, policies, kind) + text[end:]
        print(kind.rstrip("[") + text_of(fit.tables, policies, kind))
    if options.write:
        COSTS.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
