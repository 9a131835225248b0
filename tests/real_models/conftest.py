"""The real model of these tests: SmolLM2-135M-Instruct, in the folder that PERSONALRM_MODELS names."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def smollm2():
    folder = os.environ.get("PERSONALRM_MODELS")
    if not folder:
        pytest.skip("PERSONALRM_MODELS is unset; it names a folder with smollm2-135m.gguf (make demo-model fetches it)")
    path = Path(folder) / "smollm2-135m.gguf"
    if not path.is_file():
        pytest.skip(f"{path} is not there; PERSONALRM_MODELS names a folder that has it")
    return path
