"""A run folder with judgements from a seeded simulation, for tests of summaries and reports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from personalrm.bench.plan.cells import Cell
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.records import (
    DatasetInfo,
    FunnelRow,
    JudgementRow,
    MethodInfo,
    ModelInfo,
    Removed,
    RunInfo,
    TargetRow,
)
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona

METHODS = (
    MethodInfo("random", "Random", "controls"),
    MethodInfo("longer", "Longer completion wins", "controls"),
    MethodInfo("default", "Default", "judges"),
    MethodInfo("memory", "Memory", "judges", is_personal=True),
    MethodInfo("just_persona", "SynthesizeMe, just personas", "SynthesizeMe", is_personal=True),
    MethodInfo(
        "persona_and_demonstrations", "SynthesizeMe, personas + demonstrations", "SynthesizeMe", is_personal=True
    ),
)
MODELS = (
    ModelInfo("small", "fake server", "Fake", 3e9, is_scripted=True),
    ModelInfo("middle", "fake server", "Fake", 8e9, is_scripted=True),
    ModelInfo("large", "fake server", "Fake", 70e9, is_scripted=True),
)
SKILL = {"small": 0.52, "middle": 0.58, "large": 0.66}
GAIN = {
    "random": 0.0,
    "longer": 0.03,
    "default": 0.0,
    "memory": 0.02,
    "just_persona": 0.03,
    "persona_and_demonstrations": 0.08,
}
FUNNEL = (
    FunnelRow("original", 900, 80),
    FunnelRow("user filter", 600, 50, 300, {"fewer than 5 pairs": 300}, (Removed("a1b2", "fewer than 5 pairs", "Sort <b>these</b>"),)),
    FunnelRow("personalizable", 320, 40, 280, {"no taste involved": 280}, (Removed("c3d4", "no taste involved", "What is 2 + 2?"),)),
    FunnelRow("consensus", 240, 40, 80, {"all right": 70, "all wrong": 10}, (Removed("e5f6", "all right"),)),
)  # fmt: skip
DATASET = DatasetInfo(
    "fake_people", "5f3a", "invented",
    {"n_users": 40, "n_conversations": 200, "n_pairs": 800, "n_unique_queries": 190, "multi_turn_share": 0.3, "n_target_users": 40, "n_target_pairs": 240},
    FUNNEL, shows_texts=True,
)  # fmt: skip


@dataclass(frozen=True)
class Judge:
    """How a simulated judge answers."""

    skill: float = 0.6
    """Share of the pairs it is right about, before users differ."""
    lean: float = 0.0
    """Added to the probability of whatever stands first."""
    failing: float = 0.0
    """Share of single orders it cannot be read in."""


def judged(cell: Cell, judge: Judge, *, n_users: int = 40, n_pairs: int = 6, n_draws: int = 1) -> list[JudgementRow]:
    """Rows of a judge in both orders; the same pairs whatever the cell."""
    rng = np.random.default_rng([int(cell.name[-8:], 16), 7])
    levels = np.clip(judge.skill + np.random.default_rng(5).normal(0, 0.08, n_users), 0.02, 0.98)
    rows = []
    for user in range(n_users):
        for pair in range(n_pairs):
            for draw in range(n_draws):
                strength = 0.5 + (0.35 if rng.random() < levels[user] else -0.35) * rng.random()
                orders = [float(np.clip(strength + lean, 0, 1)) for lean in (judge.lean, -judge.lean)]
                first, second = (None if rng.random() < judge.failing else p for p in orders)
                why = "refusal" if first is None or second is None else ""
                rows.append(JudgementRow(f"p{user}-{pair}", f"u{user:02}", draw, first, second, unscored=why))
    return rows


def simulated_run(path: Path, *, seeds: tuple[int, ...] = (0, 1)) -> RunFolder:
    """Three scripted models, the judges of Table 3, curves, transfer and prompts."""
    folder = RunFolder(path)
    folder.write_info(
        RunInfo("simulated", {"seeds": list(seeds)}, {"personalrm": "0.1.0"}, METHODS, MODELS, (DATASET,))
    )
    rng = np.random.default_rng(3)
    lengths = [
        (f"p{user}-{pair}", f"u{user:02}", *rng.integers(50, 900, 2).tolist())
        for user in range(40)
        for pair in range(6)
    ]
    folder.write_targets(DATASET.name, [TargetRow(*one) for one in lengths])
    for method in METHODS:
        for model in SKILL if method.group != "controls" else (None,):
            for seed in seeds:
                _write(folder, Cell(DATASET.name, method.name, model, seed), method.is_personal)
    for model in ("small", "large"):
        for k in (1, 2, 4, 8):
            cell = Cell(DATASET.name, "persona_and_demonstrations", model, k=k)
            folder.write_cell(cell, judged(cell, Judge(SKILL[model] + 0.01 * k), n_users=40 - 2 * k))
    for student, skill in SKILL.items():
        for teacher in set(SKILL) - {student}:
            cell = Cell(DATASET.name, "persona_and_demonstrations", student, teacher=teacher)
            folder.write_cell(cell, judged(cell, Judge(skill + 0.05)))
    for model in SKILL:
        persona = Persona(
            tuple(Claim(f"Prefers {word} answers, says {model}.") for word in ("short", "plain", "<b>bold</b>"))
        )
        folder.write_prompt(
            Cell(DATASET.name, "persona_and_demonstrations", model), PersonalPrompt("u03", persona, judge=model)
        )
    return folder


def _write(folder: RunFolder, cell: Cell, is_personal: bool) -> None:
    skill = SKILL.get(cell.model or "", 0.5) + GAIN[cell.method]
    folder.write_cell(cell, judged(cell, Judge(skill)))
    if is_personal:
        control = replace(cell, control="shuffled_user")
        folder.write_cell(control, judged(control, Judge(SKILL[cell.model or ""]), n_draws=3))
