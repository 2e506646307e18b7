# SPDX-License-Identifier: Apache-2.0
"""`billfish tune` on a CPU: the file that it writes, going on with it, loading it through BILLFISH_PLANS, and refusals."""
import json
import os
import re
import signal
import subprocess
import time

import support
from support import BAD_INPUT, USAGE, CliTest, main

SHAPE = ["--n", "192", "--k", "256", "--group", "64"]
PROBLEM = ["--type", "u4b8", "--act", "f16", "--out-type", "f32", "--device", "cpu", "--threads", "2"]


class Tune(CliTest):
    def setUp(self):
        super().setUp()
        self.plans = self.path("plans.json")

    def tune(self, *arguments, **options):
        return self.run_tool("tune", "--device", "cpu", "--threads", "2", *arguments, "--out", self.plans, **options)

    def document(self):
        with open(self.plans, encoding="utf-8") as file:
            return json.load(file)

    def explain(self, m, *arguments, plans=None):
        return self.json_of("explain", "--m", m, *SHAPE, *PROBLEM, *arguments,
                            environment={"BILLFISH_PLANS": self.plans if plans is None else plans})["plan"]

    def test_what_was_found_is_loaded_and_explained(self):
        done = self.tune(*SHAPE, "--m", "1", "3")
        self.assertIn("written: " + self.plans, done.stdout)
        self.assertEqual(len(re.findall(r"^192 x 256|^256 x 192", done.stdout, re.MULTILINE)), 2, done.stdout)
        document = self.document()
        self.assertEqual(document["schema"], 1)
        self.assertEqual(document["device"]["kind"], "cpu")
        self.assertTrue(document["complete"])
        self.assertIn("tune --device cpu --n 192 --k 256", document["command"])
        self.assertEqual([plan["m_to"] for plan in document["plans"]], [1, 3])
        for plan in document["plans"]:
            self.assertGreater(plan["us"], 0)
            self.assertEqual(plan["m_from"], plan["m_to"])
            table = plan["candidates"]
            self.assertEqual(len(table["rows"]), 1)
            self.assertEqual(len(table["rows"][0]), len(table["columns"]))
            self.assertTrue(table["rows"][0][table["columns"].index("correct")])
        found = self.explain(3)
        self.assertTrue(found["tuned"])
        self.assertEqual(found["policy"], document["plans"][1]["plan"]["policy"])
        self.assertFalse(self.explain(2)["tuned"], "an M that was not measured")
        self.assertFalse(self.explain(3, plans="")["tuned"])
        text = self.run_tool("explain", "--m", "3", *SHAPE, *PROBLEM, environment={"BILLFISH_PLANS": self.plans}).stdout
        self.assertIn("of the loaded plans", text)

    # All implementations are candidates: that a slow one can be forced upon the library shows that the file decides.
    def test_the_file_decides_which_implementation_runs(self):
        self.tune(*SHAPE, "--m", "2", "--implementation", "all")
        document = self.document()
        rows = document["plans"][0]["candidates"]["rows"]
        self.assertIn("reference", [row[0] for row in rows])
        self.assertGreaterEqual(len(rows), 2)
        self.assertNotEqual(document["plans"][0]["plan"]["implementation"], "reference")
        plan = document["plans"][0]["plan"]
        table = document["plans"][0]["candidates"]
        slow = next(row for row in rows if row[0] == "reference")
        plan.update({name: slow[table["columns"].index(name)] for name in plan})
        with open(self.plans, "w", encoding="utf-8") as file:
            json.dump(document, file)
        found = self.explain(2)
        self.assertTrue(found["tuned"])
        self.assertEqual(found["implementation"], "reference")
        check = self.json_of("bench", "--device", "cpu", "--threads", "2", "--seconds", "0.01", *SHAPE, "--m", "2",
                             environment={"BILLFISH_PLANS": self.plans})
        rows = [row for row in check["rows"] if row["kind"] == "gemm"]
        self.assertEqual([row["implementation"] for row in rows], ["reference"])
        self.assertTrue(rows[0]["correct"])
        self.assertEqual(check["conditions"]["plans"], self.plans)

    def test_a_search_goes_on_where_it_stopped(self):
        self.tune(*SHAPE, "--m", "1")
        first = self.document()["plans"][0]
        done = self.tune(*SHAPE, "--m", "1", "2")
        self.assertIn("1 of them were there already", done.stdout)
        plans = self.document()["plans"]
        self.assertEqual(plans[0], first)
        self.assertEqual([plan["m_to"] for plan in plans], [1, 2])
        self.tune(*SHAPE, "--m", "1", "--type", "u8b128")
        self.assertEqual(len(self.document()["plans"]), 3)
        cut_short = [support.BIN, "tune", "--device", "cpu", *SHAPE, "--m", "5", "6", "--minutes", "1e-9", "--out", self.plans]
        stopped = subprocess.run(cut_short, capture_output=True, text=True, timeout=300, env=dict(os.environ, CUDA_VISIBLE_DEVICES=""))
        self.assertEqual(stopped.returncode, support.OK, stopped.stderr)
        self.assertIn("not complete", stopped.stderr)
        self.assertFalse(self.document()["complete"])
        self.assertEqual(support.leftovers(self.folder, ["plans.json"]), [])

    def test_an_interrupted_search_leaves_its_file_and_nothing_else(self):
        def wait(_):
            while not os.path.exists(self.plans):
                time.sleep(0.01)
            time.sleep(0.3)
        arguments = ["tune", "--device", "cpu", "--n", "2048", "--k", "2048", "--m", "1", "128", "512", "--out", self.plans]
        self.assertEqual(self.interrupt(signal.SIGINT, wait, *arguments), support.INTERRUPTED)
        self.assertEqual(support.leftovers(self.folder, ["plans.json"]), [])
        self.assertFalse(self.document()["complete"])
        self.assertEqual(self.document()["given_up"], [])

    # What a process that never ended left behind: the plan that it was trying is left out, and the file says so.
    def test_a_plan_that_hung_is_not_tried_again(self):
        self.tune(*SHAPE, "--m", "2", "--implementation", "all")
        plan = self.document()["plans"][0]
        table = plan["candidates"]
        slow = next(row for row in table["rows"] if row[0] == "reference")
        entry = {name: plan[name] for name in ["type", "act", "n", "k", "group", "zeroed_workspace", "dependent_launch"]}
        entry.update({"m_from": 2, "m_to": 2})
        key = json.dumps(entry, separators=(",", ":")) + " " + json.dumps(dict(zip(table["columns"][:9], slow)), separators=(",", ":"))
        os.remove(self.plans)
        with open(self.plans + ".trying", "w", encoding="utf-8") as file:
            file.write(key)
        self.tune(*SHAPE, "--m", "2", "--implementation", "all")
        document = self.document()
        self.assertEqual(document["given_up"], [key])
        self.assertNotIn("reference", [row[0] for row in document["plans"][0]["candidates"]["rows"]])
        self.assertEqual(support.leftovers(self.folder, ["plans.json"]), [])

    def test_json_is_the_file(self):
        printed = json.loads(self.tune(*SHAPE, "--m", "1", "--json").stdout)
        self.assertEqual(printed, self.document())

    # Products must not suffer from a file that cannot be read.
    def test_bad_plans_in_the_environment_do_no_harm(self):
        with open(self.plans, "w", encoding="utf-8") as file:
            file.write("{\"schema\": 1,\n nonsense}")
        for plans, words in [(self.plans, self.plans + ":2: not valid JSON"), ("/nonexistent/plans.json", "/nonexistent/plans.json")]:
            explain = [support.BIN, "explain", "--m", "3", *SHAPE, *PROBLEM, "--json"]
            done = subprocess.run(explain, capture_output=True, text=True, timeout=300,
                                  env=dict(os.environ, CUDA_VISIBLE_DEVICES="", BILLFISH_PLANS=plans))
            self.assertEqual(done.returncode, support.OK, done.stderr)
            self.assertFalse(json.loads(done.stdout)["plan"]["tuned"])
            self.assertTrue(done.stderr.startswith("billfish: the environment variable BILLFISH_PLANS is passed over: "), done.stderr)
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_files_that_are_not_ours_are_refused(self):
        for text, words in [("{}", "not a file of plans"), ("[1]", "not a file of plans"), ("nonsense", "not a file of plans"),
                            ('{"schema": 2, "plans": []}', "not a file of plans"),
                            ('{"schema": 1, "device": {"kind": "cuda", "name": "another"}, "plans": []}', "one device, one file")]:
            with open(self.plans, "w", encoding="utf-8") as file:
                file.write(text)
            self.fails(BAD_INPUT, words, "tune", "--device", "cpu", *SHAPE, "--m", "1", "--out", self.plans)
            with open(self.plans, encoding="utf-8") as file:
                self.assertEqual(file.read(), text, "what was there stays")

    def test_options_that_cannot_be_are_refused(self):
        def refused(words, *arguments):
            self.fails(USAGE, words, "tune", "--device", "cpu", *arguments)
        refused(["--out", "required"], *SHAPE)
        refused("not expected: --outt", *SHAPE, "--outt")
        refused("--n and --k go together", "--n", "64", "--out", self.plans)
        refused("--finalists is 0", *SHAPE, "--finalists", "0", "--out", self.plans)
        refused("--dependent-launch has the value 'both'", *SHAPE, "--dependent-launch", "both", "--out", self.plans)
        refused("--plain-workspace is for --device cuda", *SHAPE, "--plain-workspace", "--out", self.plans)
        refused("--minutes is -1", *SHAPE, "--minutes", "-1", "--out", self.plans)
        refused("--group has the value 0", "--n", "64", "--k", "64", "--group", "0", "--out", self.plans)
        refused("implementation is \"nobody\"; known are", *SHAPE, "--implementation", "nobody", "--out", self.plans)
        self.fails(support.UNSUPPORTED, "sm90", "tune", "--device", "cpu", *SHAPE, "--implementation", "sm90", "--out", self.plans)
        self.assertEqual(support.leftovers(self.folder, []), [])


if __name__ == "__main__":
    main()
