"""Counts what would be copied to a GPU, or waited for, where there is no GPU: the device is "meta"."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")


class Transfers:
    """Within it each operation that has tensors on both sides, makes a tensor of numbers there or reads a number
    back is noted in `found`."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._modes = (_Operations(self.found), _Calls(self.found))

    def __enter__(self) -> list[str]:
        for mode in self._modes:
            mode.__enter__()
        return self.found

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)


class _Operations(TorchDispatchMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        name = operation.overloadpacket.__name__
        if name == "_local_scalar_dense" or len({tensor.device.type for tensor in tensors if tensor.ndim}) > 1:
            self.found.append(name)
        return result


class _Calls(TorchFunctionMode):
    """What python hands over is a tensor on the device before operations see it."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if call is torch.Tensor.__getitem__ and args[0].device.type == "meta":
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(part, list) for part in index):
                self.found.append("indexed with a list")
        if call is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == "meta":
            self.found.append("made of numbers")
        return call(*args, **kwargs)
