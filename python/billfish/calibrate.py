# SPDX-License-Identifier: Apache-2.0
"""Captures what goes into a model's linear layers, for GPTQ and AWQ: python -m billfish.calibrate MODEL --text FILE --out FILE.

Any transformers model: hooks on its linear layers write samples (or add up second moments) to files beside the output while text runs
through it, so that memory holds the model and one sequence. Layers that share an input (q, k and v) are stored once. The output is a
safetensors file (docs/quantize.md) under the layer names of `billfish inspect`, whole or not there. Needs billfish[transformers].
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from . import quantize
from ._fetch import fetch

Store = Literal["samples", "moments"]
SAMPLE_TYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
RECENT = 4  # inputs that a layer may share with one called before it: q, k and v come one after another


@dataclass(frozen=True)
class Captured:
    """What a calibration file holds: tokens by layer, and for layers that share another's input, whose."""

    tokens: dict[str, int]
    same_input: dict[str, str]


class Recorder:
    """Takes inputs layer by layer, [tokens, K] torch tensors, and writes them as one safetensors file in the end."""

    def __init__(self, folder: str, store: Store, max_tokens: int, dtype: str) -> None:
        self.store, self.max_tokens, self.dtype = store, max_tokens, dtype
        self.tokens: dict[str, int] = {}
        self.same_input: dict[str, str] = {}
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._widths: dict[str, int] = {}
        self._moments: dict[str, quantize.Moments] = {}
        self._recent: list[tuple[Any, int, str]] = []

    def take(self, names: Sequence[str], x: Any) -> None:
        """names: layers that are given this very tensor, [..., K]."""
        source = next((name for seen, version, name in self._recent if seen() is x and version == x._version), None)
        for name in names:
            known = self.same_input.get(name, name if name in self.tokens else source or name)
            if known == name:
                self._add(name, x)
                source = source or name
                self._recent = [(weakref.ref(x), x._version, name), *self._recent[: RECENT - 1]]
            elif known == source:
                self.same_input[name] = source
            else:
                raise RuntimeError(f"{name} shared its input with {known} at first and now does not: calibrate it alone (--layers)")

    def _add(self, name: str, x: Any) -> None:
        import torch

        x = x.detach().reshape(-1, x.shape[-1])
        before = self.tokens.setdefault(name, 0)
        if before == 0 and name not in self._widths:
            self._widths[name] = x.shape[1]
            path = os.path.join(self._folder, str(len(self._widths)))
            if self.store == "samples":
                self._files[name] = open(path, "wb")
            else:
                kept = np.memmap(path, np.float32, "w+", shape=(x.shape[1], x.shape[1]))
                self._moments[name] = quantize.Moments(kept, 0)
        x = x[: self.max_tokens - before]
        self.tokens[name] = before + len(x)
        if len(x) == 0:
            return
        if self.store == "moments":
            try:
                quantize.hessian_add(x.float().cpu().numpy(), self._moments[name])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            return
        cast = x.to(getattr(torch, self.dtype))
        if not bool(torch.isfinite(cast).all()):
            token, channel = (int(i) for i in (~torch.isfinite(cast)).nonzero()[0])
            value = float(x[token, channel])
            advice = "; its type does not hold it: take --dtype float32 or --store moments" if np.isfinite(value) else ""
            raise ValueError(f"{name}: sample {before + token}, input {channel} is {value:g}{advice}")
        self._files[name].write(cast.contiguous().cpu().view(torch.uint8).numpy().tobytes())

    def full(self) -> bool:
        """Whether every layer that was seen has all the tokens it may have."""
        return bool(self.tokens) and all(count >= self.max_tokens for count in self.tokens.values())

    def write(self, out: str) -> None:
        """The whole file, which appears at once."""
        parts: list[tuple[str, str, list[int], str | bytes]] = []
        for i, (name, width) in enumerate(self._widths.items(), 1):
            path = os.path.join(self._folder, str(i))
            count = self.tokens[name]
            if self.store == "samples":
                self._files[name].close()
                if count > 0:
                    parts.append((name + ".X", SAMPLE_TYPES[self.dtype], [count, width], path))
            elif count > 0:
                self._moments[name].hessian.flush()  # type: ignore[attr-defined]
                parts.append((name + ".H", "F32", [width, width], path))
                parts.append((name + ".count", "I64", [1], np.int64(count).tobytes()))
        header: dict[str, Any] = {"__metadata__": {"same_input": json.dumps(self.same_input)}}
        end = 0
        for tensor, kind, shape, data in parts:
            begin, end = end, end + (len(data) if isinstance(data, bytes) else os.path.getsize(data))
            header[tensor] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        whole = os.path.join(self._folder, "whole")
        with open(whole, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, _, _, data in parts:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    with open(data, "rb") as part:
                        shutil.copyfileobj(part, file, 1 << 22)
                    os.remove(data)
        os.replace(whole, out)


def capture(
    model: Any,
    sequences: Iterable[Any],
    out: str | os.PathLike[str],
    *,
    layers: Callable[[str], bool] | Iterable[str] | None = None,
    store: Store = "samples",
    max_tokens: int = 4096,
    dtype: str = "float16",
    progress: Callable[[int, int], object] | None = None,
) -> Captured:
    """Runs token sequences through a transformers model (or whatever `model(input_ids=...)` takes) and writes the calibration file.

    layers: names as the checkpoint has them, or a function of the module's name; None: every torch.nn.Linear. progress(sequences done,
    tokens of the layer that has the fewest).
    """
    import torch

    if store not in ("samples", "moments"):
        raise ValueError(f"store is {store!r}; supported are samples, moments")
    if dtype not in SAMPLE_TYPES:
        raise ValueError(f"dtype is {dtype!r}; supported are {', '.join(SAMPLE_TYPES)}")
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; it must be 1 or more")
    out = os.fspath(out)
    wanted = None if layers is None or callable(layers) else set(layers)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(out)), prefix=os.path.basename(out) + ".") as folder:
        recorder = Recorder(folder, store, max_tokens, dtype)
        hooks = []
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                known = name if wanted is None else _checkpoint_name(name, wanted)
                if known is not None and (not callable(layers) or layers(name)):
                    hooks.append(module.register_forward_pre_hook(_linear_hook(recorder, known), with_kwargs=True))
            elif wanted is not None and _is_fused_experts(module):
                hooks.append(module.register_forward_pre_hook(_experts_hook(recorder, name, wanted), with_kwargs=True))
        if not hooks:
            raise ValueError("none of the wanted layers is a torch.nn.Linear of this model: are the names those of its checkpoint?")
        device = next(model.parameters()).device
        try:
            with torch.no_grad():
                for i, sequence in enumerate(sequences, 1):
                    model(input_ids=torch.as_tensor(sequence, device=device).reshape(1, -1))
                    if progress is not None:
                        progress(i, min(recorder.tokens.values(), default=0))
                    if recorder.full():
                        break
        finally:
            for hook in hooks:
                hook.remove()
        if not recorder.tokens:
            raise ValueError("no sequence went through the model")
        recorder.write(out)
        return Captured(dict(recorder.tokens), dict(recorder.same_input))


def _linear_hook(recorder: Recorder, name: str) -> Callable[..., None]:
    def hook(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        recorder.take([name], arguments[0] if arguments else keywords["input"])

    return hook


def _checkpoint_name(module: str, names: set[str]) -> str | None:
    """Checkpoints may have a prefix that the module has not, or the other way about ("bert.", "model.language_model.")."""
    if module in names:
        return module
    ending = [name for name in names if name.endswith("." + module) or module.endswith("." + name)]
    return ending[0] if len(ending) == 1 else None


def _is_fused_experts(module: Any) -> bool:
    """transformers 5 keeps the experts of a mixture in one parameter: [experts, 2 * inner, hidden] and [experts, hidden, inner]."""
    both, down = getattr(module, "gate_up_proj", None), getattr(module, "down_proj", None)
    shapes = [tuple(getattr(part, "shape", ())) for part in (both, down)]
    if len(shapes[0]) != 3 or len(shapes[1]) != 3 or not hasattr(module, "act_fn") or getattr(module, "is_transposed", False):
        return False
    return shapes[0] == (shapes[1][0], 2 * shapes[1][2], shapes[1][1]) and not hasattr(module, "gate_up_proj_bias")


def _experts_hook(recorder: Recorder, module_name: str, wanted: set[str]) -> Callable[..., None]:
    block = re.search(r"\.(\d+)\.", module_name)
    place = rf"(?:.*\.)?{block[1]}\.(?:\w+\.)*" if block else r"(?:.*\.)?"
    pattern = re.compile(place + r"experts\.(\d+)\.(gate_proj|up_proj|w1|w3|down_proj|w2)")
    inner: dict[int, list[str]] = {}
    outer: dict[int, list[str]] = {}
    for name in sorted(wanted):
        found = pattern.fullmatch(name)
        if found is not None:
            (outer if found[2] in ("down_proj", "w2") else inner).setdefault(int(found[1]), []).append(name)

    def hook(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        given = dict(zip(("hidden_states", "top_k_index"), arguments, strict=False)) | keywords
        hidden = given["hidden_states"].reshape(-1, given["hidden_states"].shape[-1])
        chosen = given["top_k_index"].reshape(len(hidden), -1)
        for expert, names in inner.items():
            x = hidden[(chosen == expert).any(1)]
            if len(x) == 0:
                continue
            recorder.take(names, x)
            if expert in outer:
                gate, up = (x @ module.gate_up_proj[expert].T).chunk(2, -1)
                recorder.take(outer[expert], module.act_fn(gate) * up)

    return hook


def read_sequences(path: str, tokenizer: Any, length: int, lines: bool) -> list[list[int]]:
    """Token sequences of at most `length` from a text; lines: one a line, as for models of sentences, else the text without breaks."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if lines:
        rows = [tokenizer(line, truncation=True, max_length=length)["input_ids"] for line in text.splitlines() if line.strip()]
        return [row for row in rows if row]
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return [ids[i : i + length] for i in range(0, len(ids), length)]


def read_tokens(path: str, length: int) -> list[list[int]]:
    """Token ids from a .npy file ([sequences, tokens] or [tokens]) or a text file with one sequence of numbers a line."""
    if path.endswith(".npy"):
        try:
            values = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} is not a .npy of numbers: {error}") from None
        if not np.issubdtype(values.dtype, np.integer) or values.ndim not in (1, 2):
            raise ValueError(f"{path} is {values.dtype} {list(values.shape)}; it must be integers, [tokens] or [sequences, tokens]")
        rows = np.atleast_2d(values).tolist()
    else:
        try:
            with open(path, encoding="ascii") as file:
                rows = [[int(word) for word in line.replace(",", " ").split()] for line in file if line.strip()]
        except ValueError as error:
            raise ValueError(f"{path} is not text of token ids, one sequence of numbers a line: {error}") from None
    if not any(rows):
        raise ValueError(f"{path} has no token ids")
    return [row[i : i + length] for row in rows for i in range(0, len(row), length)]


def _check_ids(path: str, sequences: list[list[int]], model: Any) -> None:
    """Ids outside of the vocabulary would end in torch's own IndexError (on a GPU in a lost context)."""
    size = int(getattr(model.get_input_embeddings(), "num_embeddings", 0))
    low, high = min(map(min, sequences)), max(map(max, sequences))
    if low < 0 or (size > 0 and high >= size):
        raise ValueError(f"{path} has the token id {low if low < 0 else high}; the model's vocabulary has 0 to {size - 1}")


def _load(path: str, dtype: str | None, device: str) -> Any:
    """The model under the class that its config names, so that its modules have the names of its checkpoint."""
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(path)
    names = getattr(config, "architectures", None) or [""]
    kind = getattr(transformers, names[0], None) or transformers.AutoModel
    model = kind.from_pretrained(path, dtype=getattr(torch, dtype) if dtype else "auto")
    model.config.use_cache = False
    return model.eval().to(device)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m billfish.calibrate", description="Capture what goes into a model's linear layers.")
    parser.add_argument("model", help="a model directory, or a repository of the hub, OWNER/NAME")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", metavar="FILE", help="text to run through the model")
    source.add_argument("--tokens", metavar="FILE", help="token ids instead: .npy, or one sequence of numbers a line")
    parser.add_argument("--out", required=True, help="the calibration file, for `billfish quantize --calibration`")
    parser.add_argument("--layers", metavar="REGEX", default="", help="layers whose name holds it (default: all that quantize takes)")
    parser.add_argument("--store", choices=["samples", "moments"], default="samples", help="inputs as they are, or their second moments")
    parser.add_argument("--max-tokens", type=int, help="tokens a layer (default: 4096 samples; moments of 131072)")
    parser.add_argument("--sequence", type=int, default=512, help="tokens at once (default: 512)")
    parser.add_argument("--lines", action="store_true", help="--text: a sequence a line")
    parser.add_argument("--dtype", choices=list(SAMPLE_TYPES), default="float16", help="of stored samples")
    parser.add_argument("--compute", choices=list(SAMPLE_TYPES), help="of the running model (default: its checkpoint's)")
    parser.add_argument("--device", default="cpu", help="where the model runs: cpu, cuda, ... (default: cpu)")
    options = parser.parse_args(arguments)
    try:
        if options.max_tokens is not None and options.max_tokens < 1:
            raise ValueError(f"--max-tokens is {options.max_tokens}; it must be 1 or more")
        if options.sequence < 1:
            raise ValueError(f"--sequence is {options.sequence}; it must be 1 or more")
        if os.path.isdir(options.out):
            raise ValueError(f"--out {options.out} is a directory; name a file")
        try:
            re.compile(options.layers)
        except re.error as error:
            raise ValueError(f"--layers {options.layers!r} is no regular expression: {error}") from None
        path = fetch(options.model)
        # The format that takes every shape: which one the model will be quantised to is not known here.
        planned = quantize.plan(path, format="compressed-tensors", group_size=-1, layers=options.layers or None)
        names = [layer.name for layer in planned if not layer.left]
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise ImportError("torch and transformers are needed: pip install billfish[transformers]") from error
        model = _load(path, options.compute, options.device)
        length = min(options.sequence, int(getattr(model.config, "max_position_embeddings", None) or options.sequence))
        if options.text:
            sequences = read_sequences(options.text, AutoTokenizer.from_pretrained(path), length, options.lines)
        else:
            sequences = read_tokens(options.tokens, length)
            _check_ids(options.tokens, sequences, model)
        limit = options.max_tokens or (4096 if options.store == "samples" else 131072)
        captured = capture(
            model,
            sequences,
            options.out,
            layers=names,
            store=options.store,
            max_tokens=limit,
            dtype=options.dtype,
            progress=lambda done, tokens: print(f"\r{done} of {len(sequences)} sequences, {tokens} tokens ", end="", file=sys.stderr),
        )
        print(file=sys.stderr)
    except (ValueError, OSError, ImportError, NotImplementedError, IndexError, RuntimeError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 1
    seen = set(captured.tokens) | set(captured.same_input)
    counts = captured.tokens.values()
    print(f"{len(counts)} inputs of {len(seen)} layers, {min(counts)} to {max(counts)} tokens each")
    for name in names:
        if name not in seen:
            print(f"{name}: no token came by", file=sys.stderr)
    print(f"{options.out} {os.path.getsize(options.out)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
