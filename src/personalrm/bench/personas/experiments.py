"""What is asked about the personas of a run: Figure 3, Table 4, Figure 10, flips, into its folder.

One file a question and cell, `experiments/<what>.<cell>.json`; the report reads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from personalrm.bench.personas.concepts import ConceptModel, read_concepts
from personalrm.bench.personas.map import map_personas
from personalrm.bench.personas.sycophancy import measure_flips
from personalrm.bench.personas.validity import Described, EmbeddedMatcher, ModelMatcher, measure_validity
from personalrm.bench.plan.cells import Cell
from personalrm.bench.results.folder import RunFolder
from personalrm.errors import BadFile, BadInput, PersonalRMError, UnknownName
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.preferences.people import example_tastes
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.reading.surveys import read_surveys
from personalrm.typed_values import finite, plain

Topic = Literal["validity", "concepts", "map", "sycophancy"]
QUESTIONS: tuple[Topic, ...] = get_args(Topic)
EXAMPLE = "example"
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, repr=False)
class About:
    """What is known of one user besides their choices."""

    stated: str = ""
    false_statements: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True)
class Asked:
    """One question about the personas of one cell."""

    question: Topic
    cell: Cell
    found: Mapping[str, Any] | None
    """What was written; None when it could not be measured."""
    reason: str = ""
    """Why not."""


def read_about(source: str) -> dict[str, About]:
    """What users say of themselves: a survey file, or `example` for the hidden tastes of the people that ship."""
    if source == EXAMPLE:
        return {
            user: About(hidden.taste, hidden.false_tastes, {"kind": hidden.kind})
            for user, hidden in example_tastes().items()
        }
    return {
        user: About(survey.stated_preference, (), survey.demographics) for user, survey in read_surveys(source).items()
    }


def ask_about_personas(
    folder: RunFolder,
    about: Mapping[str, About],
    questions: Sequence[Topic],
    *,
    caller: Caller | None = None,
    is_scripted: bool = False,
    seed: int = 0,
) -> Iterator[Asked]:
    """Every question about every cell with personas, as it is done.

    Args:
        folder: Of the run.
        about: What `read_about` returned; without statements validity cannot be
            measured, without columns the map has one color.
        questions: Some of `QUESTIONS`.
        caller: A language model; None reads personas as the embedded engine does.
        is_scripted: Whether that model is a fake; written beside every number.
        seed: Of pairings, clusters and the map.

    Raises:
        BadFile: If the folder has no personas.
        UnknownName: If a question is unknown.
        ModelUnavailable: If the run was stopped.
    """
    for name in questions:
        if name not in QUESTIONS:
            raise UnknownName(f"unknown question {name!r}; use some of {', '.join(QUESTIONS)}")
    cells = [cell for cell in folder.cells() if folder.has_prompts(cell) and cell.k is None and cell.control is None]
    if not cells:
        raise BadFile(
            f"{str(folder.path)!r} has no stored personas; run a method that writes some, such as just_persona"
        )
    for cell in cells:
        prompts = folder.prompts(cell)
        for question in questions:
            try:
                result = _measure(question, prompts, about, caller, seed)
            except PersonalRMError as error:
                if caller is not None and caller.stopped is not None:
                    raise
                yield Asked(question, cell, None, str(error))
                continue
            content = {"question": question, "cell": plain(cell), "is_scripted": is_scripted, **result}
            folder.write(
                f"experiments/{question}.{cell.name}.json", [json.dumps(content, ensure_ascii=False, indent=1) + "\n"]
            )
            yield Asked(question, cell, content)


def _measure(
    question: Topic, prompts: Sequence[PersonalPrompt], about: Mapping[str, About], caller: Caller | None, seed: int
) -> Any:
    """What is found, as JSON values; what has no number is null."""
    if question == "map":
        names = dict.fromkeys(name for known in about.values() for name in known.columns)
        columns = {name: {user: known.columns.get(name, "") for user, known in about.items()} for name in names}
        return map_personas(prompts, columns, seed=seed).as_json()
    if question == "sycophancy":
        return finite(plain(measure_flips(prompts, None if caller is None else ModelJudge(caller), seed=seed)))
    if question == "concepts":
        personas = {prompt.user_id: prompt.persona for prompt in prompts}
        return (
            read_concepts(personas) if caller is None else ConceptModel(caller, seed=seed).induce(personas)
        ).as_json()
    described = [
        Described(prompt.user_id, prompt.persona, known.stated, known.false_statements)
        for prompt in prompts
        if (known := about.get(prompt.user_id)) is not None and known.stated.strip()
    ]
    if not described:
        raise BadInput(
            "no user of these personas states a preference; pass a survey file, or `example` for the people that ship"
        )
    matcher = EmbeddedMatcher() if caller is None else ModelMatcher(caller, seed=seed)
    return finite(plain(measure_validity(described, matcher, seed=seed)))
