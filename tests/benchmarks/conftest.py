from __future__ import annotations

try:
    import torch  # noqa: F401
except ImportError:
    collect_ignore_glob = ["test_*.py"]  # the install without the extra train
