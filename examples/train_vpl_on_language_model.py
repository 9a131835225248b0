"""Train VPL on a language model with LoRA, here on a tiny random Llama; name a real model instead of `base`."""

import tempfile
from pathlib import Path

from personalrm import example_path, read_pairs
from personalrm.rewards import EmbeddingStore, LanguageVPL, LanguageVPLOptions, Lora, StylometricEncoder
from personalrm.testing import save_tiny_model

users = read_pairs(example_path())
training = [pair for user_id, user in users.items() if user_id != "mara" for pair in user.pairs[:3]]
question = users["mara"].pairs[-1].conversation
drafts = ["Yes. Do it.", "It might perhaps be worth it, it depends."]
with tempfile.TemporaryDirectory() as folder:
    base = save_tiny_model(Path(folder) / "base")
    store = EmbeddingStore(Path(folder) / "embeddings", StylometricEncoder())  # reads the users' choices
    options = LanguageVPLOptions(lora=Lora(rank=8, alpha=16), learning_rate=1e-2, pairs_a_step=8, epochs=1)
    model = LanguageVPL(base, store, options).fit(training)
    mara, nobody = model.condition_many([users["mara"].pairs[:5], []])
    print(f"trained on {model.training.n_pairs} pairs of {model.training.n_users} users")
    for name, state in (("mara", mara), ("the average user", nobody)):
        short, long = model.score(state, question, drafts)
        print(f"reward(short) - reward(long) for {name}: {short - long:+.4f}")
