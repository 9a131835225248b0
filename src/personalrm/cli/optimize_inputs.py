"""What `optimize` is told: how far to search, whose choices to read, which instructions to try.

Whatever cannot end well is refused here, before anything is spent.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.cli.model_options import refuse_model_flags_alone
from personalrm.cli.options import non_negative, positive
from personalrm.errors import BadFile, BadInput

if TYPE_CHECKING:
    from personalrm.induction.search.people import People
    from personalrm.induction.search.settings import SearchSettings


def add_search(parser: argparse.ArgumentParser) -> None:
    """How far the search goes."""
    add = parser.add_argument_group("how to search").add_argument
    add("--instructions", type=positive, default=20, metavar="N", help="instruction candidates (default: %(default)s)")
    add("--example-sets", type=positive, default=20, metavar="N", help="candidate sets (default: %(default)s)")
    add("--trials", type=positive, default=30, metavar="N", help="candidates tried (default: %(default)s)")
    add("--max-examples", type=non_negative, default=10, metavar="N", help="most in a set (default: %(default)s)")
    add("--minibatch", type=positive, default=35, metavar="N", help="dev users a trial (default: %(default)s)")
    add(
        "--full-every", type=positive, default=3, metavar="N", help="trials per full measurement (default: %(default)s)"
    )
    add(
        "--threshold",
        type=float,
        default=0.0,
        metavar="X",
        help="gain a persona must exceed to become an example (default: %(default)s)",
    )
    add("--train-users", type=positive, default=100, metavar="N", help="for examples, at most (default: %(default)s)")
    add("--user-trials", type=positive, default=10, metavar="T", help="trials within a user (default: %(default)s)")
    add("--seed", type=non_negative, default=0, help="seed of every draw (default: %(default)s)")


def search_settings(options: argparse.Namespace) -> SearchSettings:
    """`SearchSettings` from the flags."""
    from personalrm.induction.search.settings import SearchSettings

    return SearchSettings(
        n_instructions=options.instructions,
        n_example_sets=options.example_sets,
        n_trials=options.trials,
        max_examples=options.max_examples,
        minibatch_size=options.minibatch,
        full_eval_steps=options.full_every,
        threshold=options.threshold,
        max_train_users=options.train_users,
        user_trials=options.user_trials,
        seed=options.seed,
    )


def refuse_early(options: argparse.Namespace) -> None:
    """What cannot end well is refused before anything is spent."""
    if options.model is None:
        refuse_model_flags_alone(options)
        raise BadInput("optimize asks a language model; name one with --model")
    for flag in ("teacher_base_url", "teacher_key_file"):
        if getattr(options, flag) and not options.teacher_model:
            raise BadInput(f"--{flag.replace('_', '-')} needs --teacher-model; name one or leave the flag out")
    if options.method == "mipro":
        if options.instruction:
            raise BadInput("MIPROv2 proposes its own instructions; leave out --instruction or use --method search")
        from personalrm.lm.dspy_door import load_dspy

        load_dspy()
    read = [options.file, options.dev, options.persona_prompt, *(options.instruction or [])]
    inputs = {Path(one).resolve() for one in read if one}
    outputs = [Path(one) for one in (options.out, options.dspy_out) if one]
    for out in outputs:
        if out.resolve() in inputs or outputs.count(out) > 1:
            raise BadInput(f"{str(out)!r} is read or written otherwise in this command; name another file")
        if out.is_dir() or not out.absolute().parent.is_dir():
            raise BadFile(f"{str(out)!r} cannot be written: it is a folder, or its folder does not exist")


def read_people(options: argparse.Namespace, settings: SearchSettings) -> tuple[People, int]:
    """Train and dev users of the files, and how many rows were bad."""
    from personalrm.cli.options import read_options
    from personalrm.induction.search.people import divide, share_out
    from personalrm.preferences.reading.files import read_pairs

    users = read_pairs(options.file, read_options(options))
    n_bad = users.tally.n_bad_rows
    if options.dev is None:
        train, dev = share_out(list(users.values()), options.dev_share, settings.seed)
    else:
        others = read_pairs(options.dev, read_options(options))
        train, dev, n_bad = list(users.values()), list(others.values()), n_bad + others.tally.n_bad_rows
    return divide(train, dev, max_train_users=settings.max_train_users, seed=settings.seed), n_bad


def read_instructions(paths: list[str] | str | None) -> tuple[str, ...]:
    """The instructions in the files; a single path may come from the environment."""
    from personalrm.induction.search.candidates import check_instructions

    texts = []
    for path in [paths] if isinstance(paths, str) else paths or []:
        try:
            texts.append(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(f"instruction {path!r} cannot be read ({type(error).__name__}); check the path") from None
    return check_instructions(texts)


def teacher_options(options: argparse.Namespace) -> argparse.Namespace:
    """The same command with the teacher's model; headers and body belong to the student's server."""
    given = {"model": options.teacher_model, "base_url": options.teacher_base_url}
    given |= {"key_file": options.teacher_key_file, "header": None, "body": None}
    return argparse.Namespace(**{**vars(options), **given})
