#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tool's own files, damaged or edited: one line that names the file, what is wrong in it and what to do; exit code 3. What is there
stays as it was."""
import json
import os
import pathlib

from support import BAD_INPUT, CliTest, main

SHAPE = ["--n", 64, "--k", 64]
ROW = {"kind": "gemm", "m": 1, "n": 64, "k": 64, "type": "u4b8", "group": 128, "act": "f32", "implementation": "avx2", "threads": 1,
       "us_median": 10.0, "us_p10": 9.0, "us_p90": 11.0, "operations": 8192.0}
RESULTS = {"schema": 1, "device": "a device", "when": "2026-11-21T00:00:00Z", "command": "c", "valid": True, "complete": True,
           "ceilings": {"read_gbps": 50}, "rows": [ROW]}
FACTS = {"name": "a device", "major": 9, "minor": 0, "multiprocessors": 132, "registers_per_sm": 65536, "threads_per_sm": 2048,
         "blocks_per_sm": 32, "threads_per_block": 1024, "shared_per_sm": 233472, "shared_per_block": 232448}


class BadFiles(CliTest):
    def write(self, *names, text=None, **document):
        os.makedirs(self.path(*names[:-1]), exist_ok=True)
        pathlib.Path(self.path(*names)).write_text(json.dumps(document) if text is None else text, encoding="utf-8")
        return self.path(*names)

    def refused(self, file, words, *arguments, **options):
        """One line: the file, what is wrong, and what to do, which is the part behind the semicolon."""
        before = pathlib.Path(file).read_bytes()
        done = self.fails(BAD_INPUT, [file, *words], *arguments, **options)
        self.assertRegex(done.stderr, "; .*(billfish|--out|write)")
        self.assertNotIn("defect", done.stderr)
        self.assertEqual(pathlib.Path(file).read_bytes(), before, "what was there stays")

    wrong_results = [({"device": 7}, ["device is 7, a text is needed"]), ({"when": ["now"]}, ['when is ["now"]']),
                     ({"command": {}}, ["command is {}"]), ({"complete": "yes"}, ['complete is "yes", true or false is needed']),
                     ({"schema": "1"}, ['schema is "1"']), ({"rows": 3}, ["not a results.json"]), ({"rows": [ROW, 7]}, ["rows[1] is 7"]),
                     ({"ceilings": 7}, ["ceilings is 7"]), ({"ceilings": {"read_gbps": "x"}}, ['ceilings.read_gbps is "x"']),
                     ({"rows": [{**ROW, "m": 1e300}]}, ["rows[0].m is 1e+300, a whole number from 0"]),
                     ({"rows": [{**ROW, "n": -1}]}, ["rows[0].n is -1"]), ({"rows": [{**ROW, "k": 0.5}]}, ["rows[0].k is 0.5"]),
                     ({"rows": [{**ROW, "threads": 1 << 40}]}, ["rows[0].threads"]),
                     ({"rows": [{**ROW, "us_median": "x" * 999}]}, ["rows[0].us_median", "xxx..., a number"]),
                     ({"rows": [{**ROW, "correct": 1}]}, ["rows[0].correct is 1"])]

    def test_results(self):
        good = self.write("good.json", **RESULTS)
        self.run_tool("compare", good, good)
        for wrong, words in self.wrong_results:
            bad = self.write("bad.json", **{**RESULTS, **wrong})
            self.refused(bad, words, "compare", good, bad)
            self.refused(bad, words, "plot", bad, "--out", self.path("pictures"))
        self.assertFalse(os.path.exists(self.path("pictures")))

    def test_results_that_a_run_would_go_on_with(self):
        for wrong, words in self.wrong_results:
            bad = self.write("run", "results.json", **{**RESULTS, **wrong})
            self.refused(bad, [*words, "choose another --out"], "bench", "--device", "cpu", *SHAPE, "--m", 1, "--out", self.path("run"))
        self.assertEqual(os.listdir(self.path("run")), ["results.json"])

    def test_json_that_is_none(self):
        good = json.dumps(RESULTS)
        nested = "[" * 100000
        for text in ("", nested, '{"rows": ' + nested + "]" * 100000 + "}", good[:-3], good + "\0", good.replace("10.0", "1e999"),
                     json.dumps([RESULTS])):
            bad = self.write("bad.json", text=text)
            self.refused(bad, ["not a results.json"], "compare", bad, bad)
            self.refused(bad, ["no facts"], "gpu", "snapshot", "--device-facts", bad)
            self.refused(bad, ["not a file of plans"], "tune", "--device", "cpu", *SHAPE, "--m", 1, "--out", bad)

    def test_facts_of_a_device(self):
        good = self.write("good.json", facts=FACTS)
        self.run_tool("gpu", "kernel-config", "1;32", "--device-facts", good)
        for wrong, words in (({"name": 7}, "facts.name is 7"), ({"major": 1e9}, "facts.major is 1000000000.0, a whole number from 0 to"),
                             ({"multiprocessors": 1.5}, "facts.multiprocessors is 1.5"), ({"l2_bytes": -1}, "facts.l2_bytes is -1"),
                             ({"memory_bytes": 1e300}, "facts.memory_bytes is 1e+300"), ({"blocks_per_sm": 0}, "facts.blocks_per_sm")):
            bad = self.write("bad.json", facts={**FACTS, **wrong})
            self.refused(bad, [words], "gpu", "kernel-config", "1;32", "--device-facts", bad)
        bad = self.write("bad.json", facts=FACTS, measured={"read_gbps": "fast"})
        self.refused(bad, ['measured.read_gbps is "fast"'], "gpu", "kernel-config", "1;32", "--device-facts", bad)

    def test_plans(self):
        plans = self.path("plans.json")
        tune = ["tune", "--device", "cpu", *SHAPE, "--m", 1, "--out", plans]
        self.run_tool(*tune)
        good = json.loads(pathlib.Path(plans).read_text(encoding="utf-8"))
        entry = good["plans"][0]
        for wrong, words in ((7, "plans[0] is 7"), ({**entry, "plan": 7}, "plans[0].plan is 7"),
                             ({**entry, "m_to": 0}, "plans[0].m_to is 0"),
                             ({**entry, "us": "fast"}, 'plans[0].us is "fast", a number of 0 or more'),
                             ({name: entry[name] for name in entry if name != "m_to"}, "plans[0] has no m_to")):
            self.write("plans.json", **{**good, "plans": [wrong]})
            self.refused(plans, [words, "choose another --out"], *tune)
        self.write("plans.json", **{**good, "given_up": {}})
        self.refused(plans, ["given_up"], *tune)

    def test_shapes_and_models(self):
        for text, words in (("64 none\n", ":1: '64 none' is no shape"), ("\n64 2147483649 x\n", ":2:"), ("# none\n", "no shapes in it")):
            bad = self.write("bad.txt", text=text)
            self.fails(BAD_INPUT, [bad, words, "write"], "bench", "--device", "cpu", "--shapes", bad)
        for text, words in (("tp 0\n64 64 n x\n", ":1: 'tp 0' is no list of degrees"), ("tp 1 -2\n64 64 n x\n", ":1:"),
                            ("tp 1 two\n64 64 n x\n", ":1:"), ("tp 1\n64 4611686018427387904 n x\n", ":2:"),
                            ("tp 1\n64 64 # n x\n", ":2:")):
            bad = self.write("shapes", "models", "bad.txt", text=text)
            for arguments in (["bad/TP1"], ["list"]):
                self.fails(BAD_INPUT, [bad, words, "write"], "bench", "--device", "cpu", "--models", *arguments,
                           environment={"BILLFISH_BENCH": self.folder})
        self.write("shapes", "models", "bad.txt", text="tp 1 3\n64 64 n x # a comment\n")
        settings = {"environment": {"BILLFISH_BENCH": self.folder}}
        self.assertRegex(self.run_tool("bench", "--models", "list", **settings).stdout, "64 x 64 +x *\n")
        self.fails(BAD_INPUT, ["64 is no multiple of 3"], "bench", "--device", "cpu", "--models", "bad/TP3", **settings)


if __name__ == "__main__":
    main()
