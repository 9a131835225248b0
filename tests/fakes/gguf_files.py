"""GGUF files that hold a header and no model."""

import struct
from pathlib import Path


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def of_kind(value):
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, list):
        kind, items = (8, map(text, value)) if isinstance(value[0], str) else (4, (struct.pack("<I", v) for v in value))
        return struct.pack("<IIQ", 9, kind, len(value)) + b"".join(items)
    return struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)


SMALL = {
    "general.architecture": "llama",
    "general.name": "Small",
    "tokenizer.ggml.tokens": [f"word{n}" for n in range(500)],
    "tokenizer.ggml.token_type": [1] * 2000,
    "llama.context_length": 4096,
    "llama.embedding_length": 64,
    "llama.block_count": 2,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.chat_template": "{{ messages }}",
}


def gguf(keys=None, *, version=3, magic=b"GGUF", tensor_at=None):
    """The bytes of a file with these keys instead of, or beside, those of a small model; None leaves one out."""
    held = {name: value for name, value in (SMALL | (keys or {})).items() if value is not None}
    head = magic + struct.pack("<IQQ", version, tensor_at is not None, len(held))
    tensor = b"" if tensor_at is None else text("w") + struct.pack("<IQQIQ", 2, 4, 4, 0, tensor_at)
    return head + b"".join(text(name) + of_kind(value) for name, value in held.items()) + tensor + b"\0" * 64


def run_by_stand_in(tmp_path, monkeypatch):
    """Let the child process find the stand-in for llama.cpp, and keep hashes of models in this folder."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "llama_cpp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
