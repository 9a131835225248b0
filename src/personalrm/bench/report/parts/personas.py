"""One user's personas by different models, side by side (appendix G)."""

from __future__ import annotations

from collections import Counter

from personalrm.bench.plan.cells import Cell
from personalrm.bench.report.material import Material, Section
from personalrm.bench.report.tables import Column, Row, Table, Value
from personalrm.bench.results.folder import RunFolder
from personalrm.preferences.personal_prompts import PersonalPrompt

METHOD = "persona_and_demonstrations"
"""The method whose prompts are shown, if it was run; else the first that has any."""


def personas_section(material: Material) -> Section | None:
    """A column a model; None when no prompts were stored."""
    stored = _stored(material)
    if not stored:
        return None
    methods = {cell.method for _, cell in stored}
    method = METHOD if METHOD in methods else sorted(methods)[0]
    allowed = {one.name for one in material.datasets if material.shows(one)}
    cells = [(folder, cell) for folder, cell in stored if cell.method == method and cell.dataset in allowed]
    title, paper = "One user, described by different models", "appendix G"
    if not cells:
        text = "Personas are left out: the data does not allow texts of its users to be shown (--texts all shows them)."
        return Section("personas", title, paper, (text,))
    user = material.user or _described_most(material, cells)
    dataset = next((cell.dataset for folder, cell in cells if folder.prompt(cell, user)), None)
    if dataset is None:
        return Section("personas", title, paper, (f"No stored persona belongs to user {user!r}.",))
    found = [
        (cell, prompt) for folder, cell in cells if cell.dataset == dataset and (prompt := folder.prompt(cell, user))
    ]
    unique = {cell.model: prompt for cell, prompt in reversed(found)}
    return Section(
        "personas", title, paper, (), (_table(material, user, dataset, method, dict(reversed(unique.items()))),)
    )


def _stored(material: Material) -> list[tuple[RunFolder, Cell]]:
    """The cells with prompts that their own model wrote from all context pairs."""
    return [
        (folder, cell)
        for folder in material.folders
        for cell in folder.readable_cells()[0]
        if folder.has_prompts(cell) and cell.k is None and cell.teacher in (None, cell.model) and cell.control is None
    ]


def _described_most(material: Material, cells: list[tuple[RunFolder, Cell]]) -> str:
    """The user with prompts in most cells; of several the first by id."""
    names = {cell.dataset for _, cell in cells}
    judged = [entry.cell for entry in material.summary.entries if entry.cell.dataset in names]
    users = {row.user for folder, cell in cells for row in folder.targets(cell.dataset)}
    users = users or {user for cell in judged for user in _users(material, cell)}
    counts = Counter({user: sum(f.has_prompt(c, user) for f, c in cells) for user in users})
    return max(sorted(users), key=lambda user: counts[user], default="")


def _users(material: Material, cell: Cell) -> set[str]:
    return {row.user for folder in material.folders if folder.has_cell(cell) for row in folder.rows(cell)}


def _table(
    material: Material, user: str, dataset: str, method: str, prompts: dict[str | None, PersonalPrompt]
) -> Table:
    columns = tuple(Column(material.label(model)) for model in prompts)
    shown = list(prompts.values())
    rows = (
        Row("persona", tuple(Value(_persona(one)) for one in shown)),
        Row("demonstrations", tuple(Value(str(len(one.demonstrations))) for one in shown)),
        Row("pairs seen", tuple(Value(str(len(one.roles))) for one in shown)),
    )
    return Table("personas", f"{dataset}: user {user}, {material.title(method)}", "", columns, rows)


def _persona(prompt: PersonalPrompt) -> str:
    return "\n".join(claim.text for claim in prompt.persona.claims) or prompt.persona.note or "no claim"
