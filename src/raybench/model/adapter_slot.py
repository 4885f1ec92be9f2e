"""Many adapters, loaded one after the other into one slot of a model that has no other.

PEFT's own loading takes longer with each adapter that is there: it visits them all. Here a PeftModel of one adapter, on
a base without weights, takes each of them in turn, for whoever moves it elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from raybench.model.adapters import WEIGHTS, check_stated, load_adapter
from raybench.model.seeded import add_seeded_adapter, reseed, spreads_of
from raybench.model.weights import Weights
from raybench.plan import Adapter, Configuration

_OF_THE_FILE = frozenset({"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision"})
"""What a configuration says of where and how it was made, and not of what it is."""


_OF_ITS_WEIGHTS = frozenset({"lora_alpha", "alpha_pattern", "lora_dropout", "use_rslora"})
"""What a configuration says of how its weights are scaled, and not of which there are."""


def adapter_shape(weights: Weights, adapter: Adapter) -> str:
    """Alike for adapters that change the same modules by as many ranks and bring the same modules whole.

    Of one with files by its own configuration, of which the plan says but a part. Raises InputError as
    `Weights.adapter_path`.
    """
    path = weights.adapter_path(adapter)
    if path is None:
        return repr((adapter.r, adapter.target_modules))
    import peft

    found = _settings(peft.PeftConfig.from_pretrained(path))
    return json.dumps({key: value for key, value in found.items() if key not in _OF_ITS_WEIGHTS}, sort_keys=True)


def _settings(config: Any) -> dict[str, Any]:
    """What an adapter is, by its configuration: of plain values, sets as sorted lists."""
    settings = {key: value for key, value in config.to_dict().items() if key not in _OF_THE_FILE}
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=_plain))
    return plain


def _plain(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)


class AdapterSlot:
    """Loads adapters of ``configuration``, and holds no weights of a base.

    Adapters that are drawn are as large as the weights they change: for the first of a shape a base is read and let go.
    """

    name: Final = "slot"
    """What PEFT calls whichever adapter is in it."""

    def __init__(self, weights: Weights, configuration: Configuration) -> None:
        self._weights, self._configuration = weights, configuration
        self._model: Any = None
        self._like: object = None
        self._tensors: dict[str, Any] = {}
        self._spreads: dict[Any, float] = {}

    def load(self, adapter: Adapter) -> Any:
        """A PeftModel of ``adapter`` alone, until the next one is loaded. Raises InputError as `load_adapter`."""
        path = self._weights.adapter_path(adapter)
        if path is None:
            self._draw(adapter)
        else:
            self._read(adapter, path)
        return self._model

    def _read(self, adapter: Adapter, path: str) -> None:
        import peft
        from safetensors.torch import load_file

        config = peft.PeftConfig.from_pretrained(path)
        like = _settings(config)
        file = Path(path, WEIGHTS)
        if like == self._like and file.is_file():
            tensors = load_file(file)
            if {k: t.shape for k, t in tensors.items()} == {k: t.shape for k, t in self._tensors.items()}:
                check_stated(f"adapter {adapter.name} in {path}", config, adapter)
                for key, tensor in tensors.items():
                    self._tensors[key].copy_(tensor)
                return
        # The first of its kind goes PEFT's way, with every weight accounted for.
        self._model = load_adapter(
            self._weights.skeleton(self._configuration),
            adapter,
            path,
            self._weights.spec.task_type,
            autocast_adapter_dtype=self._configuration.adapter_dtype == "float32",
            alone=False,
            key=self.name,
            device=self._weights.device.kind,
        )
        self._like = like
        self._tensors = peft.get_peft_model_state_dict(self._model, adapter_name=self.name, save_embedding_layers=False)

    def _draw(self, adapter: Adapter) -> None:
        like = adapter.r, adapter.alpha, adapter.target_modules
        if like != self._like:
            self._model = add_seeded_adapter(
                self._weights.base(self._configuration),
                adapter,
                self._weights.spec.task_type,
                autocast_adapter_dtype=self._configuration.adapter_dtype == "float32",
                key=self.name,
            )
            self._like = like
            self._spreads = spreads_of(self._model, self.name)
            _drop_base(self._model)
        reseed(self._model, self.name, adapter, self._spreads)


def _drop_base(model: Any) -> None:
    """Leave a PeftModel the weights of its adapters and of the modules they bring whole; others go to "meta"."""
    import torch
    from peft.utils.other import AuxiliaryTrainingWrapper

    kept = {parameter for name, parameter in model.named_parameters() if ".lora_" in name}
    for module in model.modules():
        if isinstance(module, AuxiliaryTrainingWrapper):  # a drawn head begins with the base's own
            kept.update(module.parameters())
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in kept:
                setattr(module, name, torch.nn.Parameter(parameter.detach().to("meta"), requires_grad=False))
