"""All reward models on embeddings, or those you name: trained on the example people, asked about one, saved, loaded."""

import sys
import tempfile
from pathlib import Path

from personalrm import Message, example_path, read_pairs
from personalrm.rewards import REWARD_MODELS, EncoderSpec, open_store, reward_method

users = read_pairs(example_path())
training = [pair for name, user in users.items() if name != "mara" for pair in user.pairs]
question = (Message("user", "Is it worth repairing a ten-year-old bike?"),)
drafts = ("Yes. New tyres cost 40.", "It might perhaps be worth it, though that depends on quite a few things.")
quick = {"optimization": {"n_steps": 20}}  # for a demonstration; leave it out to train until the dev users gain no more

with tempfile.TemporaryDirectory() as folder:
    store = open_store(Path(folder) / "embeddings", EncoderSpec("stylometric"))  # or a Hugging Face model by name
    heads = [name for name, method in REWARD_MODELS.items() if not method.trains_language_model]
    for name in sys.argv[1:] or heads:
        method = reward_method(name)
        options = method.options(quick if method.takes_steps else {}, where=name)
        method.make(options, store=store).fit(training).save(Path(folder) / name)
        model = method.load(Path(folder) / name, store=store)
        mara, anybody = model.condition_many([users["mara"].pairs, []])
        of_mara, of_anybody = (model.score(state, question, drafts) for state in (mara, anybody))
        print(f"{name:<20} mara {of_mara[0] - of_mara[1]:+.2f}, the average user {of_anybody[0] - of_anybody[1]:+.2f}")
