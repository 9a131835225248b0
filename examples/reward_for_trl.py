"""A personal reward function for TRL: GRPOTrainer(reward_funcs=[personal], ...); here it is called by hand."""

import tempfile

from personalrm import example_path, read_pairs
from personalrm.rewards import EncoderSpec, open_store, reward_function, reward_method

users = read_pairs(example_path())
training = [pair for name, user in users.items() if name != "mara" for pair in user.pairs]

with tempfile.TemporaryDirectory() as folder:
    store = open_store(folder, EncoderSpec("stylometric"))  # or a Hugging Face model by name
    model = reward_method("low_rank").make(store=store).fit(training)
    states = {"mara": model.condition(users["mara"].pairs)}
    personal = reward_function(model, states)  # users without a state are the average user
    prompts = ["Is it worth repairing a ten-year-old bike?"] * 3
    completions = ["Yes. New tyres cost 40.", "It might perhaps be worth it, though that depends.", ""]
    rewards = personal(prompts, completions, user_id=["mara", "mara", "mara"])
    print("rewards:", [None if reward is None else round(reward, 2) for reward in rewards])  # nothing said: no reward
