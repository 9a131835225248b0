"""Run the whole job on the example preferences that ship: fit, show, judge, evaluate.

Example: personalrm demo
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from personalrm.cli.model_options import add_model, optional_judge
from personalrm.cli.options import add_induction, add_output, induction_settings
from personalrm.cli.printing import CHARACTERS, MOST_LISTED, bold, print_pair, print_table, print_wrapped, shortened
from personalrm.errors import UnknownName
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.datasets.targets import HeldOut
    from personalrm.induction.settings import InductionSettings
    from personalrm.judging.model import ModelJudge
    from personalrm.preferences.personal_prompts import PersonalPrompt

DESCRIPTIONS = {
    "longer": "the longer answer",
    "default": "the model, knowing nobody",
    "population": "what most people like",
    "shuffled_user": "somebody else's taste (control)",
    "personal": "this person's taste",
    "persona_and_demonstrations": "this person's taste",
}
ROWS = ("longer", "population", "shuffled_user", "personal")
MODEL_ROWS = ("default", "shuffled_user", "persona_and_demonstrations")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", help="your own preference pairs instead of the examples")
    parser.add_argument("-u", "--user", help="this person alone, for a model that takes its time")
    add_induction(parser)
    add_model(parser)
    add_output(parser, "home", "config")


def run(options: argparse.Namespace) -> int:
    from personalrm.datasets.targets import hold_out
    from personalrm.induction.embedded_fit import EmbeddedFit
    from personalrm.induction.synthesizeme import fit_with_judge
    from personalrm.preferences.people import example_path
    from personalrm.preferences.reading.files import read_pairs

    started = time.perf_counter()
    settings = induction_settings(options)
    read = read_pairs(options.file or example_path())
    users = dict(read)
    if options.user is not None:
        if options.user not in users:
            raise UnknownName(f"there is no user {options.user!r}; there are {', '.join(list(users)[:MOST_LISTED])}")
        users = {options.user: users[options.user]}
    held_out = hold_out(users.values(), min_pairs=3)
    choices = count(sum(len(user) for user in users.values()), "choice")
    engine = f"model {options.model}" if options.model else "embedded engine (no model, no network)"
    print(bold("personalrm demo") + f"  {_people(len(users))}, {choices}, {engine}")
    print("Each person's later choices were held out; everything below was learned from the earlier ones.\n")
    with optional_judge(options) as judge:
        context = held_out.context.values()
        if judge is not None:
            prompts = list(fit_with_judge(context, judge, settings))
        else:
            prompts = list(EmbeddedFit.learned_from(context, settings=settings).fit(context))
        shown = max(prompts, key=_support)
        _print_person(shown, held_out)
        _print_verdict(shown, held_out, judge)
        _print_accuracy(held_out, settings, judge)
    seconds = time.perf_counter() - started
    print(f"\ndone in {seconds:.1f} s. Next: personalrm fit YOUR.jsonl, then personalrm show USER")
    return 0


def _people(n: int) -> str:
    return "1 person" if n == 1 else f"{n} people"


def _support(prompt: PersonalPrompt) -> tuple[float, int]:
    """How well supported a persona's first sentence is; the best one is shown."""
    claims = prompt.persona.claims
    if not claims:
        return (0.0, 0)
    n_for, n_against = len(claims[0].supporting), len(claims[0].contradicting)
    return ((n_for + 1) / (n_for + n_against + 2), n_for)


def _print_person(prompt: PersonalPrompt, held_out: HeldOut) -> None:
    """The persona with the pairs behind each sentence, one of them quoted."""
    pairs = {pair.id: pair for pair in held_out.context[prompt.user_id].pairs}
    print(bold(f"What {prompt.user_id} likes") + f" (from {count(len(pairs), 'choice')})")
    if not prompt.persona.claims:
        print_wrapped(prompt.persona.note, "  ")
    for claim in prompt.persona.claims:
        print_wrapped(f"- {claim.text}", "  ")
        against = ", ".join(claim.contradicting) or "none"
        print_wrapped(f"for: {', '.join(claim.supporting) or 'none'}; against: {against}", "    ")
    if supported := [claim for claim in prompt.persona.claims if claim.supporting]:
        print_pair(pairs[supported[0].supporting[0]], "    ")


def _print_verdict(prompt: PersonalPrompt, held_out: HeldOut, judge: ModelJudge | None) -> None:
    """One held-out pair of the same person, judged with its reason."""
    from personalrm.judging.personal import judge_pair

    pair = next(pair for pair in held_out.targets if pair.user_id == prompt.user_id)
    verdict = judge_pair(prompt, pair.conversation, pair.rejected, pair.chosen, judge)
    outcome = {"second": "right", "first": "wrong", None: "a tie"}[verdict.choice]
    asked = shortened(pair.conversation[-1].content, CHARACTERS // 2)
    print(bold("\nA choice it has not seen") + f" ({pair.id}): {asked}")
    print_wrapped(f"first:  {shortened(pair.rejected, CHARACTERS)}", "  ")
    print_wrapped(f"second: {shortened(pair.chosen, CHARACTERS)}", "  ")
    if verdict.probability is None:
        print_wrapped(f"verdict: none, {verdict.unscored_reason}", "  ")
        return
    choice = verdict.choice or "a tie"
    print_wrapped(f"verdict: {choice}, P(first) = {verdict.probability:.2f}. {verdict.reasoning}", "  ")
    print(f"  {prompt.user_id} really chose: second ({outcome})")


def _print_accuracy(held_out: HeldOut, settings: InductionSettings, judge: ModelJudge | None) -> None:
    """Held-out accuracy beside the controls."""
    from personalrm.bench.runs.evaluation import evaluate
    from personalrm.stats.accuracy import percent

    methods: tuple[str, ...] = ROWS if judge is None else MODEL_ROWS
    if len(held_out.context) < 2:  # there is nobody else whose taste could be tried
        methods = tuple(method for method in methods if method not in ("shuffled_user", "population"))
    evaluation = evaluate(held_out, judge=judge, methods=methods, trials=settings.n_trials, seed=settings.seed)
    first = evaluation.rows[0].accuracy
    n_unscored = max(row.accuracy.n_unscored for row in evaluation.rows)
    print(
        bold("\nHow often it is right")
        + f" on {count(first.n_pairs, 'held-out choice')} of {_people(first.n_users)}, {n_unscored} unscored"
    )
    rows = []
    for row in evaluation.rows:
        accuracy = row.accuracy
        interval = f"[{percent(accuracy.low)}, {percent(accuracy.high)}]" if first.n_users > 1 else ""
        rows.append((DESCRIPTIONS[row.method], percent(accuracy.accuracy), interval))
    print_table(("", "accuracy %", "95 % interval"), rows)
