#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fits the cost tables of src/cuda/sm90/wgmma_cost.cpp to what `billfish tune` measured.

  billfish tune --device cuda --shapes h200 --m 16 32 48 64 96 128 192 256 512 1024 --out plans.json    on the GPU
  bench/fit_costs.py plans.json... [--seconds 120] [--write]                                                        anywhere

A file that is given twice counts twice: layers that matter beside small problems that only must not be picked badly. The tables there are:
  m-16-48.json m-64.json m-96-1024.json, each twice, hot.json, and few.json (the problems of small.txt)
  of bench/results/nvidia-h200-2026-11-22-tune, and then 150 seconds of moving two or three numbers at once in the tables of variants whose
  picks were still off, which this program does not do: it made the picks of M = 16 0.4 % better and those of M = 256 0.2 %.

Every candidate that tune timed counts, the more the nearer it is to the best of its problem. First each table is fitted alone (where that
is better than the tables there are), then all are moved, a number at a time, to where the plans that they pick are fast: what counts is the
pick, not the time. Prints how far the picks are off the best, for callers with a workspace of zeros and without one, before and after;
--write puts the tables into the source (clang-format them).

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
    from scipy.optimize import least_squares, nnls
except ImportError as error:
    sys.exit(f"fit_costs: {error}: python3 -m venv .venv-fit && .venv-fit/bin/pip install numpy scipy, and run it by that python")

ROOT = pathlib.Path(__file__).resolve().parent.parent
COSTS = ROOT / "src/cuda/sm90/wgmma_cost.cpp"
POLICIES = ROOT / "src/cuda/sm90/wgmma_policy.hpp"
MULTIPROCESSORS = 132
SECOND_TILE = 1.5  # kSecondTile
TOKEN_TILES_DEEP = 8  # kTokenTilesDeep
HEAT, SHARED_HEAT, COOL, HOT = 6.5, 0.02, 50, 300  # kHeat, kSharedHeat, kCool, kHot
DIGITS = 3  # of the numbers in the source: a pick may hang on the last
CLUSTER, SHARED = "kClusterCosts[", "kSharedCosts["
MOST = [20, 5, 3, 3, 30, 6, 1.2, 5]  # of a ClusterCost's numbers


def ceil_div(value, by):
    return -(-value // by)


def geometric(values):
    return math.exp(np.mean(np.log(values)))


class Policy:
    def __init__(self, name, fields):
        self.name = name
        self.tokens, self.stage_k = int(fields["tokens"]), int(fields["stage_k"])
        self.columns = 64 * int(fields["tiles"]) * int(fields["groups"])
        self.blocks_per_sm, self.abreast = int(fields["blocks_per_sm"]), int(fields["abreast"])
        self.bytes = (2 * self.tokens / self.abreast + self.columns / 2) / (self.tokens * self.columns)

    def work(self, m, k, n):
        """Tiles, and stages of each."""
        return ceil_div(m, self.tokens) * ceil_div(n, self.columns * self.abreast), ceil_div(k, self.stage_k)

    def held_by_power(self, us, shares):
        """What a search by turns finds, on a chip that has been at its power limit for a while."""
        return us * (1 + (HEAT * self.bytes + SHARED_HEAT * shares) * np.clip((us - COOL) / (HOT - COOL), 0, 1))

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
        self.cool = np.array([row[3] for row in self.rows])
        self.us = np.array([policies[row[1][0]].held_by_power(row[3], row[1][1] != "cluster") for row in self.rows])
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
        self.near = np.exp(-8 * np.log(measured.us / measured.best[measured.owner]))
        self.model = np.zeros(len(measured.rows))
        self.refresh()

    def times(self, table, cost):
        policy, features = self.policies[table[0]], self.features[table]
        shares = table[1] != "cluster"
        return policy.held_by_power(features @ cost if shares else cluster_time(cost, policy, features), shares)

    def refresh(self):
        for table, rows in self.data.groups.items():
            self.model[rows] = self.times(table, self.tables[table])

    def fit_alone(self):
        """With candidates far from the best counting much, or hardly: whichever picks best, if better than what there is."""
        best, score = dict(self.tables), self.score()
        for power in (0.1, 0.25, 0.5, 1):
            self.fit_tables(power)
            if self.score() < score:
                best, score = dict(self.tables), self.score()
        self.tables = {table: cost.round(DIGITS) for table, cost in best.items()}
        self.refresh()

    def fit_tables(self, power):
        for table in self.fitted:
            rows = self.data.groups[table]
            us, weight = self.data.us[rows], self.near[rows] ** power
            if table[1] != "cluster" and len(rows) >= 6:
                scale = weight / self.data.cool[rows]
                self.tables[table] = nnls(self.features[table] * scale[:, None], weight)[0]
            elif table[1] == "cluster" and len(rows) >= 10:
                begin = np.clip(self.tables[table], 1e-3, np.array(MOST) * 0.99)

                def error(cost, table=table, us=us, weight=weight):
                    return np.log(np.maximum(self.times(table, cost), 1e-6) / us) * weight

                self.tables[table] = least_squares(error, begin, bounds=(np.zeros(len(MOST)), MOST)).x
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
        error = np.sum(self.near * np.abs(np.log(np.maximum(self.model, 1e-3) / self.data.us))) / self.near.sum()
        return np.mean(np.log(with_zeros)) + 0.35 * np.mean(np.log(without)) + 0.2 * error

    def search(self, seconds):
        random, tables = np.random.default_rng(1), self.fitted
        best, began = self.score(), time.monotonic()
        while time.monotonic() - began < seconds:
            table = tables[random.integers(len(tables))]
            cost, rows = self.tables[table].copy(), self.data.groups[table]
            i = random.integers(len(cost))
            factor, more = math.exp(random.normal() * random.choice([0.02, 0.06, 0.2])), random.normal() * random.choice([0, 0.05])
            cost[i] = round(max(0.0, cost[i] * factor + more), DIGITS)
            before = self.model[rows].copy()
            self.model[rows] = self.times(table, cost)
            score = self.score() if (self.model[rows] > 0).all() else math.inf
            if score < best:
                best, self.tables[table] = score, cost
            else:
                self.model[rows] = before

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
    fit.fit_alone()
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
