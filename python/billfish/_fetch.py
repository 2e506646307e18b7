# SPDX-License-Identifier: Apache-2.0
"""billfish.fetch: a local path as it is, anything else from the Hugging Face hub through its own client and cache."""

from __future__ import annotations

import os

PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]


def fetch(repo_or_path: str | os.PathLike[str], *, revision: str | None = None) -> str:
    """The local path of a checkpoint: repo_or_path itself if it exists, else a snapshot of that repository of the hub.

    HF_HUB_OFFLINE, HF_HOME and the cache are obeyed. Without huggingface_hub: ImportError; when the hub has no such repository:
    ValueError; when it cannot be reached and the cache does not have it: OSError. Each says what to do.

    >>> import billfish, tempfile
    >>> folder = tempfile.gettempdir()
    >>> billfish.fetch(folder) == folder
    True
    """
    name = os.fspath(repo_or_path)
    if os.path.exists(name):
        return name
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise FileNotFoundError(f"{name} is no local path, and no repository either (those are called OWNER/NAME)")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError as error:
        raise ImportError(f"{name} is no local path, and to download it huggingface_hub is needed: pip install billfish[fetch]") from error
    try:
        return str(snapshot_download(name, revision=revision, allow_patterns=PATTERNS))
    except LocalEntryNotFoundError as error:
        raise OSError(
            f"{name} is not in the local cache and the hub cannot be reached (no network, or HF_HUB_OFFLINE is set): "
            "download it on a machine with network, or give a local path"
        ) from error
    except RepositoryNotFoundError as error:
        raise ValueError(f"the hub has no repository {name} that this account may read (set HF_TOKEN for private ones)") from error
    except (HfHubHTTPError, OSError) as error:
        raise OSError(f"downloading {name} failed: {error}") from error
