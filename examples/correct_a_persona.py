"""A person reads what is thought of them and corrects it; the judge honours the correction."""

from personalrm import Message, SynthesizeMe, example_path, read_pairs

users = read_pairs(example_path())
question = (Message("user", "What is a good first houseplant?"),)
short, long = (
    "A pothos.",
    "A pothos is a good first houseplant, since it forgives little light, late watering and dry air.",
)
model = SynthesizeMe().fit(users["mara"], others=users.values())
for claim in model.persona.claims:
    print(f"{claim.text} ({len(claim.supporting)} pairs for it, {len(claim.contradicting)} against)")
print(f"before: P(the short one) = {model.predict(question, short, long).probability:.2f}")

model.edit_persona(["Prefers far longer answers than most people.", "Has two cats."])
print(f"after:  P(the short one) = {model.predict(question, short, long).probability:.2f}")
