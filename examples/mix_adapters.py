"""A LoRA adapter for each cluster of users, mixed for a new one, on a tiny random Llama; `base` may be a real model."""

import tempfile
from pathlib import Path

from personalrm import example_path, read_pairs
from personalrm.rewards import BradleyTerryOptions, BradleyTerrySoup, BradleyTerrySoupOptions, Lora, margins
from personalrm.testing import save_tiny_model

users = read_pairs(example_path())
others = [user for user_id, user in users.items() if user_id != "mara"]
training = [pair for user in others[:4] for pair in user.pairs[:2]]
adapters = BradleyTerryOptions(lora=Lora(rank=8, alpha=16), learning_rate=1e-2, pairs_a_step=8)

with tempfile.TemporaryDirectory() as folder:
    base = save_tiny_model(Path(folder))
    model = BradleyTerrySoup(base, BradleyTerrySoupOptions(n_clusters=2, strength=0.01, adapters=adapters)).fit(
        training
    )
    mara = model.condition(users["mara"].pairs[:3])
    soup = model.mixed(mara.weights)  # one adapter to serve mara with, exactly the average of the deltas
    scored = margins(model, [mara], users["mara"].pairs[3:4])
    print("weights of mara:", [round(float(weight), 2) for weight in mara.weights], "an adapter of rank", soup.rank)
    print(f"reward(chosen) - reward(rejected) of a pair of hers: {scored[0]:+.4f}")
