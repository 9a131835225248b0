"""Train a Bradley-Terry reward model with LoRA, here on a tiny random Llama; name a real model instead of `base`."""

import tempfile
from pathlib import Path

from personalrm import example_path, read_pairs
from personalrm.rewards import BradleyTerry, BradleyTerryOptions, Lora, RawHistory, margins
from personalrm.testing import save_tiny_model

users = read_pairs(example_path())
others = [user for user_id, user in users.items() if user_id != "mara"]
training = [pair for user in others[:4] for pair in user.pairs[:2]]
with tempfile.TemporaryDirectory() as folder:
    base = save_tiny_model(Path(folder))
    options = BradleyTerryOptions(lora=Lora(rank=8, alpha=16), learning_rate=1e-2, pairs_a_step=8, sharing="user")
    model = BradleyTerry(base, options, turns=RawHistory(training, k=1)).fit(training)
    mara = model.condition(users["mara"].pairs[:3])
    scored = margins(model, [mara], users["mara"].pairs[3:4])
    print(f"trained on {model.training.n_pairs} pairs of {model.training.n_users} users")
    print(f"reward(chosen) - reward(rejected) of a pair of mara's: {scored[0]:+.4f}")
