# SPDX-License-Identifier: Apache-2.0
"""Importing this makes AutoModelForCausalLM.from_pretrained(path) work with checkpoints that `billfish pack` wrote.

transformers builds the model and loads what is not quantised; the quantised layers come through the library's own reader, straight from the
memory map. Saving such a model again is not supported: the checkpoint is there already.
"""

from __future__ import annotations

import os
import re
from typing import Any

import torch
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from ..checkpoint import open as open_checkpoint
from .modules import QuantLinear


@register_quantization_config("billfish")
class BillfishConfig(QuantizationConfigMixin):
    """quantization_config of a packed checkpoint's config.json; `source` is the config that it was packed from."""

    def __init__(self, **fields: Any) -> None:
        self.quant_method: Any = "billfish"
        self.billfish_version = fields.pop("billfish_version", 1)
        self.checkpoint_format = fields.pop("checkpoint_format", "marlin")
        self.packed_from = fields.pop("packed_from", "")
        self.source = fields.pop("source", None)
        self.precision = fields.pop("precision", "full")


class _Pending(torch.nn.Module):
    """Stands where a quantised layer will be, so that transformers neither makes nor looks for its weight."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.layer_name = name


@register_quantizer("billfish")
class BillfishQuantizer(HfQuantizer):
    """Puts QuantLinear modules into a model while transformers loads it."""

    requires_calibration = True

    def validate_environment(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is needed beyond this package."""

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        files = kwargs.get("checkpoint_files")
        if not files:
            raise ValueError("billfish: from_pretrained gave no checkpoint files; only safetensors on disk can be loaded")
        self._checkpoint = open_checkpoint(files[0] if len(files) == 1 else os.path.dirname(files[0]))
        modules = dict(model.named_modules())
        patterns = []
        for layer in self._checkpoint.layers:
            linear = modules.get(layer.name)
            if not isinstance(linear, torch.nn.Linear):
                raise ValueError(f"billfish: the checkpoint's layer {layer.name} is no torch.nn.Linear of {type(model).__name__}")
            if (linear.in_features, linear.out_features) != (layer.k, layer.n):
                raise ValueError(f"billfish: {layer.name} is [{layer.k}, {layer.n}] in the checkpoint and {linear} in the model")
            parent, _, child = layer.name.rpartition(".")
            setattr(modules[parent], child, _Pending(layer.name))
            patterns.append("^" + re.escape(layer.name) + r"\.")
        model._keys_to_ignore_on_load_unexpected = {*(model._keys_to_ignore_on_load_unexpected or ()), *patterns, r"^billfish\."}
        return model

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        modules = dict(model.named_modules())
        for name, module in modules.items():
            if not isinstance(module, _Pending):
                continue
            parent, _, child = name.rpartition(".")
            near = next((p for p in _parameters_nearest(modules, parent)), None)
            weights = self._checkpoint.layers[module.layer_name].weights()
            device = near.device if near is not None else torch.device("cpu")
            setattr(
                modules[parent],
                child,
                QuantLinear.from_weights(weights, precision=getattr(self.quantization_config, "precision", "full"), device=device),
            )
        self._checkpoint.close()
        return model

    def is_serializable(self, *args: Any, **kwargs: Any) -> bool:
        """No: copy the checkpoint instead."""
        return False

    @property
    def is_trainable(self) -> bool:
        """No: inference only."""
        return False

    @property
    def is_compileable(self) -> bool:
        """Yes."""
        return True


def _parameters_nearest(modules: dict[str, torch.nn.Module], name: str) -> Any:
    """The parameters of a module, then of those around it: they say where a layer belongs."""
    while True:
        yield from modules[name].parameters()
        if not name:
            return
        name = name.rpartition(".")[0]
