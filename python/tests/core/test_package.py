# SPDX-License-Identifier: Apache-2.0
"""The package as a stranger meets it: an empty environment, documentation whose code runs, types, the helpers and the examples."""

import doctest
import importlib
import os
import pathlib
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import matrix

import billfish
from billfish import extract_weight, profiling, visualization

SOURCE = pathlib.Path(os.environ["BILLFISH_SOURCE"])


def fenced(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="ascii"), re.MULTILINE | re.DOTALL)


def test_doctests():
    names = ["billfish"] + [
        f"billfish.{info.name}" for info in pkgutil.iter_modules(billfish.__path__) if info.name not in ("_core", "torch")
    ]
    attempted = 0
    for name in names:
        module = importlib.import_module(name)
        result = doctest.testmod(module)
        attempted += result.attempted
        assert result.failed == 0, name
    assert attempted > 40
    missing = [name for name in billfish.__all__ if not getattr(billfish, name).__doc__]
    assert not missing


def test_the_readme_and_the_page_are_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = fenced(SOURCE / "README.md", "python")
    page = fenced(SOURCE / "docs/python.md", "python")
    assert readme and page
    for code in readme:
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    space = {"__name__": "page"}
    for code in page:
        if "torch" not in code:
            exec(compile(code, "docs/python.md", "exec"), space)


def test_an_empty_environment_without_compilers_is_enough(tmp_path):
    """Installs the wheel beside NumPy alone, and runs it with a PATH that has no compiler."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "empty"], check=True)
    site = next((tmp_path / "empty/lib").glob("python*")) / "site-packages"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", site, os.environ["BILLFISH_WHEEL"]]
    subprocess.run(install, check=True)
    numpy_home = pathlib.Path(np.__file__).parents[1]
    for part in numpy_home.glob("numpy*"):
        os.symlink(part, site / part.name)
    (tmp_path / "path").mkdir()
    code = (
        "import billfish, numpy as np; w = billfish.pack(np.full((16, 64), 9, np.uint8), np.ones((1, 64), np.float32)); "
        "print(w.matmul(np.ones(16, np.float32))[0], billfish.__file__)"
    )
    done = subprocess.run(
        [tmp_path / "empty/bin/python", "-I", "-c", code],
        env={"PATH": str(tmp_path / "path")},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("16.0") and str(site) in done.stdout


def test_types_are_strict(tmp_path):
    user = tmp_path / "user.py"
    user.write_text(
        "import numpy as np\nimport billfish\n\n"
        "w: billfish.Weights = billfish.pack(np.zeros((16, 64), np.uint8), np.ones((1, 64), np.float16))\n"
        "dense = w.dequantize()\nreveal_type(dense)\nn: int = w.n\n"
        "with billfish.open('x') as checkpoint:\n    name: str = checkpoint.layers['a'].name\n"
    )
    package = pathlib.Path(billfish.__file__).parent
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    environment = {**os.environ, "MYPYPATH": str(package.parent)}
    done = subprocess.run([*command, str(user)], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert "Success" in done.stdout and re.search("float32|_32Bit", done.stdout), done.stdout + done.stderr
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import billfish\nbillfish.open('x').layers[0].matmul(1, precision='fp4')\nbillfish.pack(1)\n")
    done = subprocess.run([*command, str(wrong)], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and done.stdout.count("error:") == 2, done.stdout
    done = subprocess.run(
        [*command, "--config-file", str(SOURCE / "python/pyproject.toml"), "-p", "billfish"],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_extracting_a_layer_writes_what_the_tool_writes(model, tmp_path, capsys):
    path, _ = model
    assert extract_weight.main([str(path), "model.layers.1.mlp.up_proj", "--out", str(tmp_path / "mine")]) == 0
    assert "K=256 N=192 bits=4 group=64" in capsys.readouterr().out
    tool = os.environ["BILLFISH_TOOL"]
    subprocess.run([tool, "extract", path, "model.layers.1.mlp.up_proj", "--out", tmp_path / "theirs"], check=True, capture_output=True)
    names = sorted(os.listdir(tmp_path / "theirs"))
    assert names == sorted(os.listdir(tmp_path / "mine")) and len(names) == 3
    for name in names:
        assert (tmp_path / "mine" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes(), name
    assert extract_weight.main([str(path), "up_proj"]) == 1
    assert "3 layers" in capsys.readouterr().err
    assert extract_weight.main([str(path), "nothing"]) == 1
    assert extract_weight.main(["no/where/at/all", "x"]) == 1
    assert "no local path" in capsys.readouterr().err


def test_a_layers_name_leads_nowhere_but_into_the_folder(tmp_path):
    codes, scales, _, _ = matrix(128, 64)
    for name in (f"l.{tmp_path}/outside/up", "l../../up", "l/up"):
        path = tmp_path / "model"
        billfish.write_checkpoint(path, "gptq", {name: billfish.PlainMatrix(codes, scales, group_size=-1)})
        assert extract_weight.main([str(path), name, "--out", str(tmp_path / "raw")]) == 0
        assert sorted(os.listdir(tmp_path / "raw")) == ["up_qweight.bin", "up_scales.bin", "up_scales_percolumn.bin"]
        assert sorted(os.listdir(tmp_path)) == ["model", "raw"]
        shutil.rmtree(path)


def test_fetch_without_its_client_or_network_says_what_to_do(tmp_path, monkeypatch):
    assert billfish.fetch(tmp_path) == str(tmp_path)
    with pytest.raises(FileNotFoundError, match="OWNER/NAME"):
        billfish.fetch("./missing")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install billfish\[fetch\]"):
        billfish.fetch("somebody/something")


def test_profiling(capsys):
    bench = profiling.Benchmarker(num_iterations=7, warmup=1)
    calls = []
    result = bench.benchmark_function(lambda: calls.append(1), "append")
    bench.benchmark_function(lambda: sum(range(20000)), "sum")
    assert len(calls) == 8 and result.samples == 7 and result.min_ms <= result.median_ms <= result.max_ms and result.device == "cpu"
    bench.print_results()
    assert re.search(r"sum +cpu +[\d.]+", capsys.readouterr().out)
    with pytest.raises(RuntimeError, match="has not been stopped"):
        profiling.CUDATimer().elapsed_ms()
    with pytest.raises(ValueError, match="num_iterations is 0"):
        profiling.Benchmarker(0)


def test_pictures(tmp_path):
    codes, scales, _, dense = matrix(128, 64, 32)
    w = billfish.pack(codes, scales, group_size=32)
    helper = visualization.VisualizationHelper(tmp_path / "pictures")
    bench = profiling.Benchmarker(3)
    bench.benchmark_function(lambda: w.matmul(np.ones((1, 128), np.float32)), "one row")
    paths = [
        helper.plot_weight_distribution({"dense": dense, "scales": scales}, "weights.png"),
        helper.plot_performance_comparison(bench.results, "median_ms"),
        helper.plot_quantization_error(dense, w),
        helper.plot_packing(),
    ]
    for path in paths:
        assert pathlib.Path(path).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="metric is 'speed'"):
        helper.plot_performance_comparison(bench.results, "speed")
    with pytest.raises(ValueError, match="original has shape"):
        helper.plot_quantization_error(dense[:5], w)


def test_the_picture_of_the_tile_is_the_documented_map():
    words = visualization.packed_word_of_tile()
    for k in range(16):
        for n in range(64):
            lane = (n % 8) * 4 + (k % 8) // 2
            assert words[k, n] == lane * 4 + n // 16


@pytest.mark.parametrize("name", ["timing.py", "pictures.py"])
def test_examples(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(SOURCE / "python/examples" / name), run_name="__main__")
    assert capsys.readouterr().out
