"""Draft several answers with any model, send the one this person would choose (best of n)."""

from personalrm import Message, SynthesizeMe, read_pairs
from personalrm.preferences.people import example_path

users = read_pairs(example_path())
question = (Message("user", "Should I buy the used car?"),)
drafts = [
    "Perhaps, if it might still be under warranty.",
    "Buy it. The price is fair, the engine is sound, the papers are complete, and the tyres have two winters left in them.",
    "It could possibly be worth it, though it probably depends on the mileage, and some would perhaps rather wait for spring.",
]
for name in ("henrik", "mara"):
    ranking = SynthesizeMe().fit(users[name], others=users.values()).rank(question, drafts)
    print(f"{name}: {drafts[ranking.order[0]]}")
