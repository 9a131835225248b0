"""Rank drafts for a user whose choices stand in the prompt: they are read once, each further question is cheap."""

import tempfile
from pathlib import Path

from personalrm import Message, example_path, read_pairs
from personalrm.rewards import BradleyTerry, BradleyTerryOptions, Lora, PrefixCache, RawHistory
from personalrm.testing import save_tiny_model

users = read_pairs(example_path())
training = [pair for name in ("henrik", "mara") for pair in users[name].pairs[:3]]
drafts = ("Yes. New tyres cost 40.", "It might perhaps be worth it, though that depends on quite a few things.")

with tempfile.TemporaryDirectory() as folder:
    options = BradleyTerryOptions(lora=Lora(rank=8, alpha=16), learning_rate=1e-2, pairs_a_step=6)
    cache = PrefixCache(max_tokens=65_536)  # over all users, least recently used out first
    base = save_tiny_model(Path(folder))  # a real model by name or folder
    model = BradleyTerry(base, options, turns=RawHistory(training, k=2), cache=cache).fit(training)
    mara = model.condition(users["mara"].pairs[:4])
    for text in ("Is it worth repairing a ten-year-old bike?", "Should I sell my car?"):
        before = model.n_tokens_run
        order = model.rank(mara, (Message("user", text),), drafts)
        print(f"{model.n_tokens_run - before:,} tokens run, best draft: {order[0]}")
    print(f"{cache.n_hits} hit, {cache.n_tokens:,} tokens kept")
