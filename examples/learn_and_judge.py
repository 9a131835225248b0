"""Learn one person's taste from their choices, say it, and judge two new answers as they would."""

from personalrm import Message, SynthesizeMe, example_path, read_pairs

users = read_pairs(example_path())
model = SynthesizeMe().fit(users["mara"], others=users.values())
print(model.persona)

question = (Message("user", "How do I get candle wax out of a tablecloth?"),)
short = "Freeze it, scrape the wax off, then iron the rest into kitchen paper."
long = (
    "Candle wax is stubborn, but there is a gentle way to deal with it. Let the wax harden first, in the freezer if "
    "the cloth fits. Then scrape off what you can with a blunt knife. What remains has to be melted: put kitchen paper "
    "above and below the spot, set the iron to a low heat, and move it slowly until the paper has soaked it all up."
)
verdict = model.predict(question, long, short)
print(f"{verdict.choice}, P(first) = {verdict.probability:.2f}: {verdict.reasoning}")
