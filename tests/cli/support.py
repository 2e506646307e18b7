# SPDX-License-Identifier: Apache-2.0
"""What the tests of the tool share: running it, and its file formats in plain Python (NumPy, safetensors, f16), written independently of
the library so that both can be wrong only in different ways."""

import array
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

BIN = os.environ.get("BILLFISH_BIN", "build/bin/billfish")
SOURCE = os.environ.get("BILLFISH_SOURCE_DIR", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
FIXTURES = os.path.join(SOURCE, "tests", "fixtures")

OK, CHECK_FAILED, USAGE, BAD_INPUT, UNSUPPORTED, DEVICE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
COMMANDS = ["inspect", "pack", "unpack", "quantize", "verify", "dequantize", "matmul", "check", "extract", "percolumn", "explain",
            "bench", "tune", "demo", "implementations", "version"]


def fixture(name):
    return os.path.join(FIXTURES, name)


def fixtures():
    """Names of the checkpoints written by other people's tools that are committed here."""
    return sorted(name for name in os.listdir(FIXTURES) if os.path.exists(os.path.join(FIXTURES, name, "ref", "meta.json")))


class CliTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="billfish-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def run_tool(self, *arguments, expect=OK, environment=None, **options):
        """Runs the tool on the CPU; a failure must be one line on stderr, success must leave stderr empty."""
        full = dict(os.environ, CUDA_VISIBLE_DEVICES="", **(environment or {}))
        done = subprocess.run([BIN, *[str(a) for a in arguments]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, env=full, timeout=300, **options)
        shown = f"{arguments}\nexit {done.returncode}\nstdout: {done.stdout[-2000:]}\nstderr: {done.stderr[-2000:]}"
        self.assertEqual(done.returncode, expect, shown)
        if expect in (USAGE, BAD_INPUT, UNSUPPORTED, DEVICE):
            self.assertEqual(done.stderr.count("\n"), 1, shown)
            self.assertTrue(done.stderr.startswith("billfish"), shown)
        elif expect == OK:
            self.assertEqual(done.stderr, "", shown)
        return done

    def fails(self, expect, words, *arguments, **options):
        """The command stops with that code, and its one line holds all of the words."""
        done = self.run_tool(*arguments, expect=expect, **options)
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, done.stderr)
        return done

    def interrupt(self, number, wait, *arguments):
        """Starts the tool on the CPU, sends it the signal when wait(process) returns; the exit code."""
        # Tests that run in the background of a shell inherit an ignored SIGINT; people do not.
        with subprocess.Popen([BIN, *[str(a) for a in arguments]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, env=dict(os.environ, CUDA_VISIBLE_DEVICES=""),
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:
            wait(process)
            process.send_signal(number)
            self.last_words = process.communicate(timeout=60)[1].decode()
        return process.returncode

    def peak_bytes(self, *arguments):
        """Runs the tool, which must succeed; the most memory that it held."""
        peak = 0
        with subprocess.Popen([BIN, *[str(a) for a in arguments]], stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:  # the peak only grows: the last reading counts
                try:
                    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
                        peak = max([peak, *(int(line.split()[1]) for line in file if line.startswith("VmHWM"))])
                except (FileNotFoundError, ProcessLookupError):
                    break
                time.sleep(0.002)
        self.assertEqual(process.returncode, OK)
        self.assertGreater(peak, 0)
        return peak * 1024

    def json_of(self, *arguments, expect=OK, **options):
        return json.loads(self.run_tool(*arguments, "--json", expect=expect, **options).stdout)


# ------------------------------------------------------------------------------------------------ elements

def to_f16(value):
    """Rounded to the nearest f16, as a float."""
    return struct.unpack("<e", struct.pack("<e", value))[0]


def to_f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def floats_of(data, dtype):
    if dtype in ("<f2", "F16"):
        return list(struct.unpack(f"<{len(data) // 2}e", data))
    if dtype in ("<f4", "F32"):
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    if dtype == "BF16":
        return [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    raise ValueError(dtype)


def words_of(data):
    return array.array("I", data)


# -------------------------------------------------------------------------------------------------- NumPy

def write_npy(path, values, shape, dtype="<f4", version=1, fortran=False, header=None):
    text = header if header is not None else "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }" % (dtype, fortran, tuple(shape))
    prefix = 10 if version == 1 else 12
    text += " " * (63 - (prefix + len(text)) % 64) + "\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    code = {"<f4": "f", "<f2": "e", "<f8": "d"}.get(dtype, "f")
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY" + bytes([version, 0]) + length + text.encode("latin1") + struct.pack(f"<{len(values)}{code}", *values))


def read_npy(path):
    """(shape, dtype, values)"""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:6] == b"\x93NUMPY", data[:10]
    prefix = 10 if data[6] == 1 else 12
    length = struct.unpack("<H" if data[6] == 1 else "<I", data[8:prefix])[0]
    header = eval(data[prefix:prefix + length].decode("latin1"), {"__builtins__": {}})  # a file of our own making
    assert not header["fortran_order"] and (prefix + length) % 64 == 0
    values = floats_of(data[prefix + length:], header["descr"])
    count = 1
    for size in header["shape"]:
        count *= size
    assert count == len(values), (header, len(values))
    return header["shape"], header["descr"], values


# -------------------------------------------------------------------------------------------- safetensors

SIZES = {"I32": 4, "I64": 8, "F16": 2, "BF16": 2, "F32": 4, "U8": 1}


def write_safetensors(path, tensors, metadata=None):
    """tensors: {name: (dtype, shape, bytes)}"""
    header, offset = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def read_safetensors(path):
    """({name: (dtype, shape, bytes)}, metadata)"""
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
        body = file.read()
    metadata = header.pop("__metadata__", {})
    return {name: (entry["dtype"], entry["shape"], body[entry["data_offsets"][0]:entry["data_offsets"][1]])
            for name, entry in header.items()}, metadata


def read_model(path):
    """All tensors of a file or of a directory's shards."""
    files = [path] if os.path.isfile(path) else [os.path.join(path, f) for f in sorted(os.listdir(path)) if f.endswith(".safetensors")]
    tensors = {}
    for file in files:
        tensors.update(read_safetensors(file)[0])
    return tensors


# ------------------------------------------------------------------------------------- checkpoints made here

class Gptq:
    """A random GPTQ v1 layer: codes, zeros and scales as Python lists, and its tensors."""

    def __init__(self, k, n, group=128, bits=4, symmetric=True, act_order=False, bias=False, seed=1):
        rng = random.Random(seed)
        self.k, self.n, self.bits, self.bias = k, n, bits, None
        self.group = k if group == -1 else group
        self.groups = -(-k // self.group)
        half = 1 << (bits - 1)
        self.codes = [[rng.randrange(1 << bits) for _ in range(n)] for _ in range(k)]
        self.zeros = [[half if symmetric else rng.randrange(1 << bits) for _ in range(n)] for _ in range(self.groups)]
        self.scales = [[to_f16(rng.uniform(0.002, 0.02)) for _ in range(n)] for _ in range(self.groups)]
        self.g_idx = [row // self.group for row in range(k)]
        if act_order:
            rng.shuffle(self.g_idx)
        if bias:
            self.bias = [to_f16(rng.uniform(-1, 1)) for _ in range(n)]

    def weight(self, k, n):
        g = self.g_idx[k]
        return self.scales[g][n] * (self.codes[k][n] - self.zeros[g][n])

    def tensors(self, prefix):
        bits, per_word = self.bits, 32 // self.bits
        qweight = array.array("I", [0] * (self.k // per_word * self.n))
        for k in range(self.k):
            for n in range(self.n):
                qweight[k // per_word * self.n + n] |= self.codes[k][n] << (bits * (k % per_word))
        width = self.n // per_word
        qzeros = array.array("I", [0] * (self.groups * width))
        for g in range(self.groups):
            for n in range(self.n):
                qzeros[g * width + n // per_word] |= self.zeros[g][n] << (bits * (n % per_word))
        one = sum(1 << (bits * j) for j in range(per_word))
        for i, word in enumerate(qzeros):  # v1 stores one less: subtracted from whole words
            qzeros[i] = (word - one) % (1 << 32)
        flat = [scale for row in self.scales for scale in row]
        result = {
            prefix + ".qweight": ("I32", [self.k // per_word, self.n], qweight.tobytes()),
            prefix + ".qzeros": ("I32", [self.groups, width], qzeros.tobytes()),
            prefix + ".scales": ("F16", [self.groups, self.n], struct.pack(f"<{len(flat)}e", *flat)),
            prefix + ".g_idx": ("I32", [self.k], struct.pack(f"<{self.k}i", *self.g_idx)),
        }
        if self.bias is not None:
            result[prefix + ".bias"] = ("F16", [self.n], struct.pack(f"<{self.n}e", *self.bias))
        return result


def write_gptq(folder, layers, desc_act=False, group_size=128, bits=4, symmetric=True, extra=None, shards=1, dynamic=None):
    """layers: {prefix: Gptq}. Returns the folder."""
    os.makedirs(folder, exist_ok=True)
    tensors = dict(extra or {})
    for prefix, layer in layers.items():
        tensors.update(layer.tensors(prefix))
    config = {"model_type": "llama", "torch_dtype": "float16",
              "quantization_config": {"quant_method": "gptq", "bits": bits, "group_size": group_size, "desc_act": desc_act,
                                      "sym": symmetric, "checkpoint_format": "gptq"}}
    if dynamic is not None:
        config["quantization_config"]["dynamic"] = dynamic
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    if shards == 1:
        write_safetensors(os.path.join(folder, "model.safetensors"), tensors, {"format": "pt"})
        return folder
    names, weight_map = list(tensors), {}
    for shard in range(shards):
        file_name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        chosen = names[shard::shards]
        write_safetensors(os.path.join(folder, file_name), {name: tensors[name] for name in chosen}, {"format": "pt"})
        weight_map.update({name: file_name for name in chosen})
    total = sum(len(data) for _, _, data in tensors.values())
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file)
    return folder


def random_tensor(count, seed=1):
    """An unquantised f16 tensor."""
    rng = random.Random(seed)
    return ("F16", [count], struct.pack(f"<{count}e", *[rng.uniform(-1, 1) for _ in range(count)]))


def leftovers(folder, known):
    """What lies in a folder besides the names that are known."""
    return sorted(name for name in os.listdir(folder) if name not in known)


def main():
    if not os.path.exists(BIN):
        sys.exit(f"{BIN} is not there: build the tool first, or set BILLFISH_BIN")
    unittest.main(verbosity=1)
