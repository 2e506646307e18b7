# SPDX-License-Identifier: Apache-2.0
"""QuantLinear: a Linear over packed weights whose state dict is a GPTQ, AWQ or compressed-tensors module's; and replace_linears."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch.compiler import is_dynamo_compiling

from .. import _core
from .._names import FORMATS, PRECISIONS, WEIGHT_TYPES, Precision, WeightType, number
from ..checkpoint import Checkpoint, Layer
from ..checkpoint import open as open_checkpoint
from ..weights import Weights
from .operators import encode_config, gemm
from .zeros import ensure_workspace

Format = Literal["gptq", "gptq_v2", "awq", "compressed-tensors"]
# What the short way of an eager call needs (python/source/torch_eager.cpp); None where this torch has it not.
_exchange = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
_wrap = getattr(getattr(torch._C, "_aoti", None), "alloc_tensors_by_stealing_from_void_ptrs", None)
_watchers: tuple[Callable[[], object], ...] = (torch._C._len_torch_dispatch_stack, torch._C._get_tracing_state)
_PARTS = ("codes", "scales", "zeros", "g_idx", "perm", "bias")


def _tensor(weights: Weights, part: str) -> torch.Tensor | None:
    """One packed part, over the same memory."""
    array = weights._core.part(part)
    if array is None:
        return None
    if not array.flags.writeable:
        array = array.copy()
    tensor = torch.from_numpy(array.view(np.int16) if array.dtype == np.uint16 else array)
    return tensor.view(torch.bfloat16) if array.dtype == np.uint16 else tensor


class QuantLinear(torch.nn.Module):
    """y = x @ dequantised weights + bias, from 4- or 8-bit weights packed once.

    It is born empty, with the buffers of `format` ("gptq": qweight, qzeros, scales, g_idx, ...); load_state_dict, or whoever fills the
    buffers and calls pack(), packs them. state_dict() gives the format's tensors back, code for code. Inference only.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        *,
        bits: int = 4,
        group_size: int = 128,
        format: Format = "gptq",
        symmetric: bool = True,
        act_order: bool = False,
        precision: Precision = "full",
        dtype: torch.dtype = torch.float16,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if bits not in (4, 8):
            raise ValueError(f"bits is {bits}; supported are 4 and 8")
        if format not in ("gptq", "gptq_v2", "awq", "compressed-tensors"):
            raise ValueError(f"format is {format!r}; supported are gptq, gptq_v2, awq and compressed-tensors")
        if group_size == 0 or group_size < -1:
            raise ValueError(f"group_size is {group_size}; it must be -1 or a positive number of codes")
        if format == "awq" and (bits == 8 or act_order):
            raise NotImplementedError("AWQ modules have 4 bits and no activation order")
        self.in_features, self.out_features = in_features, out_features
        self.bits, self.group_size, self.format, self.precision = bits, group_size, format, precision
        self.symmetric, self.act_order, self.has_bias = symmetric and format != "awq", act_order, bias
        self.weight_dtype = dtype
        self.packed = False
        self._arguments: tuple[Any, ...] = ()
        self._eager: Callable[[torch.Tensor], torch.Tensor | None] | None = None
        for part in _PARTS:
            self.register_buffer(f"packed_{part}", None, persistent=False)
        for name, (shape, kind) in self._format_buffers().items():
            self.register_buffer(name, torch.zeros(shape, dtype=kind, device=device))

    # ------------------------------------------------------------------------------------------------ checkpoint order

    @property
    def groups(self) -> int:
        """How many groups K has."""
        return 1 if self.group_size == -1 or self.group_size >= self.in_features else -(-self.in_features // self.group_size)

    def _format_buffers(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """The tensors of a module of this format: name -> shape and type."""
        k, n, groups, i32 = self.in_features, self.out_features, self.groups, torch.int32
        per = 32 // self.bits
        out: dict[str, tuple[tuple[int, ...], torch.dtype]]
        if self.format == "compressed-tensors":
            out = {"weight_packed": ((n, -(-k // per)), i32), "weight_scale": ((n, groups), self.weight_dtype)}
            out["weight_shape"] = ((2,), torch.int64)
            if not self.symmetric:
                out["weight_zero_point"] = ((-(-n // per), groups), i32)
            if self.act_order:
                out["weight_g_idx"] = ((k,), i32)
        elif self.format == "awq":
            out = {"qweight": ((k, n // per), i32), "qzeros": ((groups, n // per), i32), "scales": ((groups, n), self.weight_dtype)}
        else:
            out = {"qweight": ((k // per, n), i32), "qzeros": ((groups, -(-n // per)), i32), "scales": ((groups, n), self.weight_dtype)}
            out["g_idx"] = ((k,), i32)
        if self.has_bias:
            out["bias"] = ((n,), self.weight_dtype)
        return out

    def _type(self, zeros: torch.Tensor | None) -> WeightType:
        """The type, by looking at stored zeros: a format's flag may lie."""
        symmetric: WeightType = "u4b8" if self.bits == 4 else "u8b128"
        if zeros is None:
            return symmetric
        middle = 1 << (self.bits - 1)
        stored = middle - 1 if self.format == "gptq" else middle
        word = int.from_bytes(bytes([stored | stored << 4 if self.bits == 4 else stored] * 4), "little", signed=True)
        if self.format in ("gptq", "gptq_v2") and self.out_features % (32 // self.bits) == 0 and bool((zeros == word).all()):
            return symmetric
        return "u4" if self.bits == 4 else "u8"

    def pack(self) -> QuantLinear:
        """Packs what lies in the format's buffers, and drops them. A no-op if nothing lies there. Returns self."""
        if self.packed:
            return self
        found = {name: getattr(self, name) for name in self._format_buffers()}
        if any(tensor.is_meta for tensor in found.values()):
            raise RuntimeError("QuantLinear.pack: the buffers are on the meta device; load a checkpoint first")
        device = next(iter(found.values())).device
        self._pack_from({name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}, device)
        return self

    def _pack_from(self, found: dict[str, torch.Tensor], device: torch.device) -> None:
        compressed = self.format == "compressed-tensors"
        zeros = found.get("weight_zero_point" if compressed else "qzeros")
        g_idx = found.get("weight_g_idx" if compressed else "g_idx")
        kind = self._type(zeros)
        if g_idx is not None and not self.act_order:
            rows = torch.arange(self.in_features, dtype=torch.int32) // (self.group_size if self.groups > 1 else self.in_features)
            if torch.equal(g_idx, rows) or not g_idx.any():
                g_idx = None
        core = _core.pack_format(
            FORMATS[self.format],
            number(WEIGHT_TYPES, kind, "type"),
            self.in_features,
            self.out_features,
            self.group_size,
            found["weight_packed" if compressed else "qweight"],
            found["weight_scale" if compressed else "scales"],
            zeros if kind in ("u4", "u8") or not compressed else None,
            g_idx,
            found.get("bias"),
        )
        self._take(Weights(core), device)

    def _take(self, weights: Weights, device: torch.device | str) -> None:
        """Packed weights become this module's own."""
        for name in self._format_buffers():
            if name in self._buffers:
                del self._buffers[name]
        for part in _PARTS:
            tensor = _tensor(weights, part)
            self._buffers[f"packed_{part}"] = None if tensor is None else tensor.to(device)
        self.weight_type = weights.type
        self._flags = weights._core.flags
        self._packed_group = weights.group_size
        self.packed = True
        self._refresh()

    def _refresh(self) -> None:
        """The operator's arguments in one tuple: looking every buffer up would cost each call more than the dispatcher does."""
        parts = tuple(self._buffers[f"packed_{part}"] for part in _PARTS)
        codes, scales, zeros, g_idx, perm, bias = parts
        if type(codes) is torch.Tensor:
            ensure_workspace(codes.device)
        config = encode_config(
            self.in_features, self.out_features, self._packed_group, self.weight_type, self.precision, weight_flags=self._flags
        )
        self._arguments = (codes, scales, zeros, g_idx, perm, bias, config)
        self._eager = self._make_eager(parts)

    def _make_eager(self, parts: tuple[torch.Tensor | None, ...]) -> Callable[[torch.Tensor], torch.Tensor | None] | None:
        """The short way of an eager call, if this torch has what it takes and the parts have memory."""
        if (
            _exchange is None
            or _wrap is None
            or any(part is not None and (part.is_meta or type(part) is not torch.Tensor) for part in parts)
        ):
            return None
        codes, scales, zeros, g_idx, perm, bias = parts
        assert codes is not None and scales is not None
        if codes.device.type not in ("cpu", "cuda"):
            return None
        types = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
        fields = {name: 0 if part is None else part.data_ptr() for name, part in zip(_PARTS, parts)}
        fields |= {
            "k": self.in_features,
            "n": self.out_features,
            "group": self._packed_group,
            "type": WEIGHT_TYPES[self.weight_type],
            "scale_type": types[scales.dtype],
            "bias_type": 0 if bias is None else types[bias.dtype],
            "flags": self._flags,
            "precision": number(PRECISIONS, self.precision, "precision"),
            "device": -1 if codes.device.type == "cpu" else codes.get_device(),
        }
        return _core.EagerWeights(torch.Tensor, _wrap, _exchange, _watchers, fields).multiply  # bound once: called more quickly

    @classmethod
    def from_weights(
        cls,
        weights: Weights,
        *,
        format: Format = "gptq",
        precision: Precision = "full",
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> QuantLinear:
        """A module over packed weights; nothing is copied on the CPU. `format` is the one that its state_dict() will have."""
        types = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
        module = cls(
            weights.k,
            weights.n,
            weights.bias is not None,
            bits=4 if weights.type in ("u4b8", "u4") else 8,
            group_size=weights.group_size,
            format=format,
            symmetric=weights.type in ("u4b8", "u8b128"),
            act_order=weights.perm is not None or weights.g_idx is not None,
            precision=precision,
            dtype=dtype or types[weights.scale_type],
            device="meta",
        )
        module._take(weights, device)
        return module

    # ------------------------------------------------------------------------------------------------------ torch's ways

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in_features] -> [..., out_features] in x's type."""
        eager = self._eager  # never without packed weights
        if eager is not None and not is_dynamo_compiling():
            y: torch.Tensor | None = eager(x)
            if y is not None:
                return y
        if not self.packed:
            raise RuntimeError("QuantLinear is not packed: load a state dict, or fill the buffers and call pack()")
        if x.dim() > 2 and not x.is_contiguous():
            x = x.contiguous()
        out: torch.Tensor = gemm(x, *self._arguments)
        return out

    def dequantize(self) -> torch.Tensor:
        """The weight as torch.nn.Linear has it, float32 [out_features, in_features], on the CPU."""
        return torch.from_numpy(self._weights().dequantize()).t().contiguous()

    def _weights(self) -> Weights:
        """The packed parts as Weights on the CPU."""
        if not self.packed:
            raise RuntimeError("QuantLinear is not packed: load a state dict, or fill the buffers and call pack()")
        parts = {part: self._buffers[f"packed_{part}"] for part in _PARTS}
        host = {part: None if tensor is None else tensor.detach().cpu().contiguous() for part, tensor in parts.items()}
        return Weights(
            _core.from_marlin(
                host["codes"],
                host["scales"],
                host["zeros"],
                host["g_idx"],
                host["perm"],
                host["bias"],
                self.in_features,
                self.out_features,
                self._packed_group,
                number(WEIGHT_TYPES, self.weight_type, "type"),
            )
        )

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> QuantLinear:
        # A change of device moves the buffers; one of dtype (model.half()) is about activations and leaves stored scales as they are.
        def move(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move, recurse)  # type: ignore[no-untyped-call]
        if self.packed:
            self._refresh()
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Pointers do not travel: they are taken anew from the buffers of the copy.
        return {**self.__dict__, "_eager": None, "_arguments": ()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if self.packed:
            self._refresh()

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.packed:
            for name, tensor in self._unpack().items():
                destination[prefix + name] = tensor

    def _unpack(self) -> dict[str, torch.Tensor]:
        """The format's tensors, made again from the packed ones."""
        weights = self._weights()
        scales = self._buffers["packed_scales"]
        assert scales is not None
        compressed = self.format == "compressed-tensors"
        out = {}
        for name, (shape, kind) in self._format_buffers().items():
            out[name] = torch.zeros(shape, dtype=scales.dtype if name in ("scales", "weight_scale") else kind)
        zeros = out.get("weight_zero_point" if compressed else "qzeros")
        g_idx = out.get("weight_g_idx" if compressed else "g_idx")
        codes = out["weight_packed" if compressed else "qweight"]
        weights._core.unpack(FORMATS[self.format], codes, out["weight_scale" if compressed else "scales"], zeros, g_idx)
        if compressed:
            out["weight_shape"] = torch.tensor([self.out_features, self.in_features])
        bias = self._buffers["packed_bias"]
        if bias is not None:
            out["bias"] = bias.detach().cpu().clone()
        return out

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        wanted = self._format_buffers()
        optional = {"g_idx"} if not self.act_order else set()
        found = {name: state_dict[prefix + name] for name in wanted if prefix + name in state_dict}
        missing = [name for name in wanted if name not in found and name not in optional]
        if strict:
            missing_keys += [prefix + name for name in missing]
            known = set(wanted) | {"g_idx"}
            unexpected_keys += [key for key in state_dict if key.startswith(prefix) and key[len(prefix) :] not in known and key != prefix]
        wrong = [name for name, tensor in found.items() if tuple(tensor.shape) != wanted[name][0]]
        error_msgs += [f"{prefix}{name} has shape {list(found[name].shape)}; it must be {list(wanted[name][0])}" for name in wrong]
        if missing or wrong:
            return
        places = [tensor for tensor in self._buffers.values() if tensor is not None and not tensor.is_meta]
        device = places[0].device if places else torch.device("cpu")
        try:
            self._pack_from({name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}, device)
        except (ValueError, NotImplementedError) as error:
            error_msgs.append(f"{prefix.rstrip('.')}: {error}")

    def extra_repr(self) -> str:
        """What print(module) shows."""
        kind = self.weight_type if self.packed else f"{self.bits} bits, not packed"
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.has_bias}, {kind}, group_size={self.group_size}"
        )


def replace_linears(
    model: torch.nn.Module,
    checkpoint: str | os.PathLike[str] | Checkpoint,
    *,
    precision: Precision = "full",
    only: Iterable[str] | None = None,
) -> list[str]:
    """Every torch.nn.Linear of the model whose name is a quantised layer of the checkpoint becomes a QuantLinear over it, on its device.

    Returns their names. KeyError if a layer of the checkpoint (or of `only`) is no Linear of the model, ValueError if its shape differs,
    before anything is replaced. Tensors that are not quantised are the model's own business.
    """
    opened = checkpoint if isinstance(checkpoint, Checkpoint) else open_checkpoint(checkpoint)
    try:
        modules = dict(model.named_modules())
        chosen: list[Layer] = [opened.layers[name] for name in only] if only is not None else list(opened.layers)
        for layer in chosen:
            linear = modules.get(layer.name)
            if not isinstance(linear, torch.nn.Linear):
                what = "no module" if linear is None else f"a {type(linear).__name__}"
                raise KeyError(f"{layer.name} of the checkpoint is {what} of the model; it must be a torch.nn.Linear")
            if (linear.in_features, linear.out_features) != (layer.k, layer.n):
                raise ValueError(
                    f"{layer.name} is Linear({linear.in_features}, {linear.out_features}) in the model "
                    f"and [{layer.k}, {layer.n}] in the checkpoint"
                )
        for layer in chosen:
            linear = modules[layer.name]
            parent, _, child = layer.name.rpartition(".")
            device = linear.weight.device
            module = QuantLinear.from_weights(layer.weights(), precision=precision, device="cpu" if device.type == "meta" else device)
            setattr(modules[parent], child, module)
        return [layer.name for layer in chosen]
    finally:
        if opened is not checkpoint:
            opened.close()
