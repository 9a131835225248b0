"""MIPROv2 through DSPy, with the paper's settings (appendix F), over our own caller and with our metric.

DSPy rewrites the instruction and chooses demonstrations; every call it makes, and every
judgement of the metric, is one of our caller's. DSPy's draws depend on the seed, so a
killed run, started again, finds its answers in the cache and goes on.
"""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from personalrm.errors import BadInput, PersonalRMError, UnreadableReply
from personalrm.induction.search.gain import Gain, gain_calls, judge_under
from personalrm.induction.search.optimize import Optimized, Tell, calls_by_purpose, gather_people
from personalrm.induction.search.people import People, Subject, in_words
from personalrm.induction.search.settings import SearchSettings
from personalrm.judging.model import ModelJudge
from personalrm.lm.with_dspy import dspy_lm, load_dspy
from personalrm.preferences.persona_prompts import ExamplePersona, PersonaPrompt
from personalrm.preferences.personas import Persona
from personalrm.prompts.replies import read_persona
from personalrm.wording import count

MAX_LABELED = 6
"""`max_labeled_demos`; nobody has labeled personas, so DSPy's labeled demonstrations carry none and are left out."""
LEAST_GAIN = 1e-9
"""DSPy keeps a demonstration whose metric is at least its threshold: only a positive gain may become one."""
SHOWN = 600
"""Characters shown of each text of a choice."""
MOST_ERRORS = 1_000_000
"""Failures are counted by us; DSPy is not to give up after ten."""
THREADS = 16


def optimize_with_mipro(
    people: People,
    judge: ModelJudge,
    settings: SearchSettings,
    tell: Tell = lambda _: None,
) -> Optimized:
    """The best persona prompt DSPy's MIPROv2 finds, starting from the judge's.

    Args:
        people: Train and dev users.
        judge: The model; its persona prompt is where the search begins.
        settings: Numbers of candidates and trials, minibatch, full evaluations, threshold, seed.
        tell: Called with what is being done.

    Raises:
        BadInput: If there are no train or no dev users.
        MissingExtra: If the extra `optimize` is not installed.
        UnreadableReply: If DSPy can make nothing of what the model proposes.
        ModelUnavailable: If the run was stopped.
    """
    dspy = load_dspy()
    for part, there in (("train", people.train), ("dev", people.dev)):
        if not there:
            raise BadInput(f"MIPROv2 needs at least one {part} user with pairs to score a persona on; add users")
    start = judge.persona_prompt
    gain = Gain(judge_under(judge), start)
    train, dev = gather_people(people, judge, settings, tell)
    tell("default judge")
    gain.prepare((*train, *dev))
    metric = _Metric(gain, {subject.user_id: subject for subject in (*train, *dev)})
    lm = dspy_lm(judge.caller, max_tokens=judge.options.max_tokens, seed=judge.options.seed)
    optimizer = dspy.MIPROv2(
        metric=metric,
        prompt_model=lm,
        task_model=lm,
        auto=None,
        num_candidates=settings.n_instructions,
        max_bootstrapped_demos=settings.max_examples,
        max_labeled_demos=MAX_LABELED,
        metric_threshold=max(LEAST_GAIN, settings.threshold + LEAST_GAIN),
        num_threads=THREADS,
        max_errors=MOST_ERRORS,
        seed=settings.seed + 9,  # DSPy takes a seed of 0 for none; its own default is 9
        verbose=False,
    )
    optimizer.num_fewshot_candidates = settings.n_example_sets
    tell("MIPROv2")
    with _quiet(dspy, lm), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DSPy's own notices of what it will change
        best = _compiled(
            judge,
            optimizer,
            _program(dspy, start),
            trainset=_examples(dspy, train),
            valset=_examples(dspy, dev),
            num_trials=settings.n_trials,
            minibatch=True,
            minibatch_size=settings.fitted_to(len(dev)).minibatch_size,
            minibatch_full_eval_steps=settings.full_eval_steps,
            view_data_batch_size=1,
            program_aware_proposer=False,  # it reads source code, which says nothing about people
        )
        if judge.caller.stopped is not None:
            raise judge.caller.stopped
        score, n_unscored = _score(dspy, best, metric, dev)
        start_score, _ = _score(dspy, _program(dspy, start), metric, dev)
    if judge.caller.stopped is not None:
        raise judge.caller.stopped
    predict = best.synthesize.predict
    by_words = {in_words(subject.evidence, SHOWN): subject for subject in train}
    examples = tuple(
        ExamplePersona(in_words(subject.evidence), str(demo["synthesized_persona"]), subject.pairs)
        for demo in predict.demos
        if demo.get("synthesized_persona") and (subject := by_words.get(demo["past_judgements"])) is not None
    )
    provenance = {
        "method": "MIPROv2",
        "model": judge.name,
        "settings": settings.as_json() | {"max_labeled_demos": MAX_LABELED, "view_data_batch_size": 1},
        "score": score,
        "start_score": start_score,
        "n_train_users": len(train),
        "n_dev_users": len(dev),
        # DSPy's own record: number and score of each candidate program, in percent as DSPy counts
        "trials": [
            {key: value for key, value in row.items() if isinstance(value, int | float | str) and "path" not in key}
            for row in (getattr(best, "trial_logs", None) or {}).values()
        ],
        "seen": sorted({pair for subject in (*train, *dev) for pair in subject.pairs}),
    }
    instruction = str(predict.signature.instructions)
    prompt = PersonaPrompt(instruction, examples, f"MIPROv2 from {start.source!r}", provenance=provenance)
    notes = (f"{count(n_unscored, 'dev user')} could not be measured with the best prompt",) if n_unscored else ()
    return Optimized(prompt, score, start_score, gain.accuracy(dev), len(dev), n_unscored, notes)


def _compiled(judge: ModelJudge, optimizer: Any, program: Any, **options: Any) -> Any:
    """The best program; whatever DSPy raises about a model's replies is one sentence.

    Raises:
        UnreadableReply: If DSPy can make nothing of what the model proposes.
        ModelUnavailable: If the run was stopped.
    """
    try:
        return optimizer.compile(program, **options)
    except Exception as error:
        if judge.caller.stopped is not None:
            raise judge.caller.stopped from None
        if isinstance(error, PersonalRMError):
            raise
        raise UnreadableReply(
            f"MIPROv2 can make nothing of what model {judge.name!r} proposes ({type(error).__name__}); use another "
            "model, or --method search"
        ) from None


def mipro_calls_by_purpose(people: People, settings: SearchSettings, n_samples: int) -> dict[str, int]:
    """What `optimize_with_mipro` asks at most, by purpose: as `calls_by_purpose`, with what DSPy does differently."""
    calls = calls_by_purpose(people, settings, n_samples)
    # DSPy bootstraps every set of examples anew, and describes data, program and module before it proposes.
    calls["example personas"] *= settings.n_example_sets
    calls["proposals"] = 4 * settings.n_instructions + settings.n_observed
    # The first and the best program are measured once more, to be reported.
    calls["trials"] += 2 * sum(gain_calls(len(split.target)).total(n_samples) for _, split in people.dev)
    return calls


class _Metric:
    """Gain of one persona on its user, as DSPy wants it."""

    def __init__(self, gain: Gain, subjects: dict[str, Subject]) -> None:
        self.gain, self.subjects = gain, subjects
        self._lock = threading.Lock()
        self.unscored: set[str] = set()
        """Users whose gain could not be measured at some time; DSPy, which wants a number, got 0."""

    def __call__(self, example: Any, prediction: Any, trace: Any = None) -> float:
        subject = self.subjects[example.user_id]
        words = " ".join(str(getattr(prediction, "synthesized_persona", "") or "").split())
        try:
            persona = read_persona(f"persona: {words}", [shown.shown.pair.id for shown in subject.evidence])
        except UnreadableReply as error:  # it says nothing or gives orders
            persona = Persona(note=str(error))
        value = self.gain.of([persona], [subject])[0]
        if value is None:
            with self._lock:
                self.unscored.add(subject.user_id)
        return 0.0 if value is None else value


def _program(dspy: Any, start: PersonaPrompt) -> Any:
    """The published program's layout: `synthesize`, a chain of thought from judgements to a persona."""
    fields = {
        "past_judgements": (str, dspy.InputField(desc="choices one person made between two completions")),
        "synthesized_persona": (str, dspy.OutputField(desc="a persona in a few plain sentences about the person")),
    }
    signature = dspy.make_signature(fields, start.instruction)

    class SynthesizePersona(dspy.Module):  # type: ignore[misc]  # known only where DSPy is installed
        def __init__(self) -> None:
            super().__init__()
            self.synthesize = dspy.ChainOfThought(signature)

        def forward(self, past_judgements: str, user_id: str = "") -> Any:
            return self.synthesize(past_judgements=past_judgements)

    return SynthesizePersona()


def _examples(dspy: Any, subjects: Sequence[Subject]) -> list[Any]:
    """DSPy's examples; the user's id travels along, so that the metric knows whom to ask about."""
    return [
        dspy.Example(past_judgements=in_words(subject.evidence, SHOWN), user_id=subject.user_id).with_inputs(
            "past_judgements", "user_id"
        )
        for subject in subjects
    ]


def _score(dspy: Any, program: Any, metric: _Metric, dev: Sequence[Subject]) -> tuple[float, int]:
    """Mean gain over the dev users that could be measured, and how many could not."""
    metric.unscored.clear()
    evaluate = dspy.Evaluate(
        devset=_examples(dspy, dev), metric=metric, num_threads=THREADS, max_errors=MOST_ERRORS, display_progress=False
    )
    results = evaluate(program).results
    failed = {
        example.user_id for example, prediction, _ in results if not getattr(prediction, "synthesized_persona", "")
    }
    unscored = metric.unscored | failed
    scores = [float(score) for example, _, score in results if example.user_id not in unscored]
    return (sum(scores) / len(scores) if scores else float("nan")), len(unscored)


@contextmanager
def _quiet(dspy: Any, lm: Any) -> Iterator[None]:
    """DSPy asks this model, and neither logs nor remembers prompts, which hold people's conversations."""
    loggers = [logging.getLogger(name) for name in ("dspy", "optuna")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        printed = io.StringIO()  # bars and prints that cannot be turned off
        context = dspy.context(lm=lm, disable_history=True, max_errors=MOST_ERRORS)
        with context, redirect_stdout(printed), redirect_stderr(printed):
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
