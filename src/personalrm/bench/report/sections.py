"""The parts of the report, in order. A new part is one file in `parts/`, named as its anchor, and
one line here.

A part returns None when the run has nothing for it; the page then says so under its title.
Parts that another command must fill say which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from personalrm.bench.report.material import Material, Section
from personalrm.bench.report.parts.accuracy import main_section
from personalrm.bench.report.parts.by_context import context_section
from personalrm.bench.report.parts.by_size import size_section
from personalrm.bench.report.parts.data import data_section
from personalrm.bench.report.parts.families import families_section
from personalrm.bench.report.parts.gates import gates_section
from personalrm.bench.report.parts.persona_concepts import concepts_section
from personalrm.bench.report.parts.persona_flips import flips_section
from personalrm.bench.report.parts.persona_map import map_section
from personalrm.bench.report.parts.persona_validity import validity_section
from personalrm.bench.report.parts.personas import personas_section
from personalrm.bench.report.parts.trainings import trainings_section
from personalrm.bench.report.parts.transfer import transfer_section


@dataclass(frozen=True)
class Part:
    """One named place of the report."""

    name: str
    title: str
    paper: str
    build: Callable[[Material], Section | None] | None = None
    missing: str = "This run has nothing for it."
    """What the page says when there is no section."""


ASKED = "Not asked yet: `personalrm bench personas RUN` asks, with a model or without."
TABLE_5 = "Needs models with a family and the default judge."
PARTS = (
    Part("accuracy", "Accuracy of all methods", "Table 3", main_section),
    Part(
        "trainings", "Trained language models", "5.1 and Table 6", trainings_section, "No language model was trained."
    ),
    Part("gates", "Quality of the judges", "reliability, section 5", gates_section),
    Part("by-size", "Accuracy by size of the model", "Figures 6 and 7", size_section, "Needs models of two sizes."),
    Part(
        "by-context", "Accuracy by number of context pairs", "Figures 2 and 8", context_section, "Needs curves over k."
    ),
    Part("transfer", "Transfer between models", "Figures 4 and 9", transfer_section, "Needs prompts of another model."),
    Part("families", "Model families", "Table 5", families_section, TABLE_5),
    Part(
        "personas", "One user, described by different models", "appendix G", personas_section, "No prompts are stored."
    ),
    Part("persona-validity", "Do personas match what users say of themselves", "Figure 3", validity_section, ASKED),
    Part("persona-concepts", "What personas say", "Table 4", concepts_section, ASKED),
    Part("persona-map", "Personas and demographics", "Figure 10", map_section, ASKED),
    Part("persona-flips", "Answers that taste must not decide", "ethical considerations", flips_section, ASKED),
    Part("data", "Data", "benchmark statistics and appendix C", data_section),
)


def build_sections(material: Material) -> list[Section]:
    """Every part in order; one that has nothing to show says why in a sentence."""
    sections = []
    for part in PARTS:
        section = part.build(material) if part.build else None
        sections.append(section or Section(part.name, part.title, part.paper, (part.missing,)))
    return sections
