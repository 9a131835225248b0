"""Everything in a home folder is the owner's alone, whatever the umask."""

from __future__ import annotations

import os
import stat

import pytest

pytestmark = pytest.mark.slow
RUN = """
name: tiny
datasets: [{name: tiny, path: prefs.jsonl, min_pairs: 2}]
methods: [longer, personal, low_rank]
encoders: [{label: style}]
models: [{label: m, name: m, base_url: "http://127.0.0.1:1/v1"}]
"""


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_answers_embeddings_and_run_folders_are_the_owners_alone(run, prefs, tmp_path, umask):
    (tmp_path / "run.yaml").write_text(RUN, encoding="utf-8")
    before = os.umask(umask)
    try:
        assert run("bench", "run", "-c", "run.yaml", "--attempts", "1", "--retry-pause", "0.001")[0] == 0
        assert run("bench", "report", "personalrm-home/runs/tiny")[0] == 0
        assert run("fit", prefs, "--model", "m", "--base-url", "http://127.0.0.1:1/v1", "--attempts", "1")[0] in (1, 3)
    finally:
        os.umask(before)
    inside = [path for path in (tmp_path / "personalrm-home").rglob("*") if "users" not in path.parts[-3:]]
    names = {path.name for path in inside}
    assert {"cache.sqlite", "rows.sqlite", "last.f16", "run.json", "timing.jsonl", "report.html"} <= names
    open_to_others = [str(path.relative_to(tmp_path)) for path in inside if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert open_to_others == []
