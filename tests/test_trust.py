"""What files of somebody else may do here: run no code, and be read by their owner alone."""

from __future__ import annotations

import ast
import json
import os
import stat
from pathlib import Path

import pytest

from personalrm.embedding.hugging_face import HuggingFaceEncoder
from personalrm.embedding.quiet_loading import load_pretrained
from personalrm.errors import BadInput
from personalrm.testing.tiny_models import save_tiny_model
from personalrm.whole_files import make_private, open_private, private_folder, replace_file

ROOT = Path(__file__).parents[1]
LOADERS = {"from_pretrained", "from_config", "pipeline"}
EVIL = "open({mark!r}, 'w').write('ran')\nclass Evil:\n    pass\n"


def calls(path: Path) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]


def test_nothing_is_loaded_without_saying_that_no_code_of_its_own_runs() -> None:
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]
    loads = [(path, call) for path in sources for call in calls(path) if call.func.attr in LOADERS]
    said = [ast.unparse(call) for _, call in loads]
    assert len(loads) >= 4
    assert [text for text in said if "trust_remote_code=False" not in text and "**NO_FOREIGN_CODE" not in text] == []


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A model folder that brings code of its own, which would leave a mark."""
    folder = Path(save_tiny_model(tmp_path_factory.mktemp("evil")))
    (folder / "evil.py").write_text(EVIL.format(mark=str(folder / "mark")), encoding="utf-8")
    for name, keys in {
        "config.json": {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}},
        "tokenizer_config.json": {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}},
    }.items():
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps(content | keys), encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["AutoConfig", "AutoTokenizer", "AutoModel"])
def test_a_model_that_brings_code_is_refused_in_one_sentence_and_the_code_not_run(evil, kind) -> None:
    with pytest.raises(BadInput, match="brings Python code of its own, which is not run") as error:
        load_pretrained(kind, str(evil), "base model")
    assert "\n" not in str(error.value)
    assert not (evil / "mark").exists()


@pytest.mark.slow
def test_an_encoder_that_brings_code_is_refused(evil) -> None:
    with pytest.raises(BadInput, match="which is not run"):
        _ = HuggingFaceEncoder(str(evil), local_only=True).dim


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": ' * 5000, b"\xff\xfe\x00", b'{"vocab_size": "many"}'])
def test_a_damaged_model_folder_is_refused_in_one_sentence(tmp_path, name, content) -> None:
    folder = Path(save_tiny_model(tmp_path / "model"))
    (folder / name).write_bytes(content)
    said = []
    for kind in ("AutoConfig", "AutoTokenizer", "AutoModel"):
        try:
            load_pretrained(kind, str(folder), "base model")  # not every file is of use to each
        except BadInput as error:
            said.append(str(error))
    assert [sentence for sentence in said if "\n" in sentence] == []
    assert said or name == "tokenizer_config.json" or content.startswith(b'{"vocab')


@pytest.fixture(params=[0o000, 0o022, 0o277, 0o077])
def _umask(request):
    """Sets the mask of rights for a while."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_umask")
def test_what_is_private_is_the_owners_alone_whatever_the_umask(tmp_path) -> None:
    private_folder(tmp_path / "a" / "b")
    replace_file(tmp_path / "a" / "b" / "whole", ["x"], is_private=True)
    with open(tmp_path / "a" / "b" / "opened", "a", opener=open_private) as file:
        file.write("x")
    found = {str(path.relative_to(tmp_path)): rights(path) for path in sorted((tmp_path / "a").rglob("*"))}
    assert found == {"a/b": 0o700, "a/b/opened": 0o600, "a/b/whole": 0o600}
    assert rights(tmp_path / "a") == 0o700


def test_a_folder_that_is_there_keeps_its_rights(tmp_path) -> None:
    os.chmod(tmp_path, 0o755)
    private_folder(tmp_path / "inside")
    assert (rights(tmp_path), rights(tmp_path / "inside")) == (0o755, 0o700)


def test_others_can_be_locked_out_afterwards_and_links_are_not_followed(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("x")
    (tmp_path / "other").write_text("x")
    os.chmod(tmp_path / "other", 0o644)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "other")
    make_private(tmp_path / "a")
    assert (rights(tmp_path / "a"), rights(tmp_path / "a" / "f"), rights(tmp_path / "other")) == (0o700, 0o600, 0o644)
