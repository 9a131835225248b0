"""Throwaway environments for what we are compared with, made once under build/peers.

Peers never share an environment with us: the published package holds dspy at a version of 2025, and its pins would win.
"""

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "peers"
PACKAGES: dict[str, tuple[str, ...]] = {
    "package": ("synthesizeme==0.0.11a1", "dspy==2.6.24", "datasets"),
    "clients": ("dspy==3.4.1", "openai==3.57.0", "litellm==1.110.2"),
}
_VERSIONS = "import json, sys, importlib.metadata as m; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"


def python_of(name: str) -> str:
    """The interpreter of an environment, made first where it is missing; a later run starts at once."""
    folder, wanted = FOLDER / name, json.dumps(PACKAGES[name])
    python, stamp = folder / "bin" / "python", folder / "made.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making {folder.relative_to(FOLDER.parents[1])}, once", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES[name]], check=True
        )
        stamp.write_text(wanted)
    return str(python)


def versions(name: str, *packages: str) -> dict[str, str]:
    """What is installed there."""
    installed: dict[str, str] = json.loads(subprocess.check_output([python_of(name), "-c", _VERSIONS, *packages]))
    return installed
