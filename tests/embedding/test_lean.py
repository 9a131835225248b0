"""Stores and tables need numpy alone; torch comes with the files that say so."""

from __future__ import annotations

import subprocess
import sys

import pytest

LEAN = (
    "embedding.encoders", "embedding.store", "embedding.server", "embedding.token_tree", "embedding.chat_text",
    "stylometry.encoder", "rewards.reward_model", "rewards.heads.pair_table", "rewards.heads.simplex", "rewards.saving",
)  # fmt: skip


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.slow
def test_lean_files_load_no_torch() -> None:
    imports = "".join(f"import personalrm.{name}\n" for name in LEAN)
    assert (
        run(f"import sys\n{imports}print(sorted(set(sys.modules) & {{'torch', 'transformers', 'safetensors'}}))")
        == "[]\n"
    )


def test_without_torch_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from personalrm.errors import MissingExtra\n"
        "try:\n    import personalrm.rewards.heads.low_rank\n"
        "except MissingExtra as error:\n    print(error)"
    )
    assert run(code) == f"torch is not installed; {sys.executable} -m pip install 'personalrm[train]'\n"
