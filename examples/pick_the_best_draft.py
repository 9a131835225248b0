"""Draft several answers with any model, send the one this person would choose (best of n)."""

from personalrm import Message, SynthesizeMe, example_path, read_pairs

users = read_pairs(example_path())
question = (Message("user", "Should I buy the used car?"),)
drafts = [
    "Buy it. The price is fair, the engine is sound, the papers are complete, and the tyres are nearly as good as new.",
    "Two things for it, two against:\n- the price may be fair\n- the engine runs\n- the rust\n- the tyres",
]
for name in ("henrik", "tobias"):
    ranking = SynthesizeMe().fit(users[name], others=users.values()).rank(question, drafts)
    print(f"{name}: {drafts[ranking.order[0]]}\n")
