"""A dataset that `bench build` made, in a run: its funnel is told, its texts only where they may be."""

import json

import pytest
from benchmarks.simulations.raw_sources import arena_rows, write_lines

from personalrm.bench.plan.spec import DatasetSpec, RunSpec
from personalrm.bench.report.writing import write_report
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.runs.data import load_dataset
from personalrm.bench.runs.models import Models
from personalrm.bench.runs.runner import Runner
from personalrm.bench.runs.setup import begin_run, load_datasets
from personalrm.datasets.building.build import Build
from personalrm.datasets.building.publishing import run_build
from personalrm.datasets.sources import open_source
from personalrm.errors import CorruptFile, NewerVersion
from personalrm.typed_values import plain

pytestmark = pytest.mark.slow


@pytest.fixture
def built(tmp_path):
    """A folder built without models from raw Arena rows, and the build's own report."""
    path = write_lines(tmp_path / "arena.jsonl", (row for row, _ in arena_rows(60, 8)))
    return tmp_path / "built", run_build(Build(tmp_path / "built", open_source(path)))


def loaded(folder, **options):
    return load_dataset(DatasetSpec("built", folder.name, **options), folder.parent).info


def damage(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_run_keeps_the_funnel_of_its_dataset_row_by_row(built):
    folder, report = built
    funnel = loaded(folder).funnel
    assert [(row.stage, row.n_pairs, row.n_users, row.n_removed) for row in funnel] == [
        (row.title, row.n_pairs, row.n_users, row.n_pairs_removed) for row in report.funnel
    ]
    assert [dict(row.reasons) for row in funnel] == [dict(row.removed) for row in report.funnel]
    assert sum(len(row.examples) for row in funnel) > 0


def test_requests_of_removed_pairs_are_kept_only_where_they_may_be_shown(built):
    folder, _ = built
    quiet = [one for row in loaded(folder).funnel for one in row.examples]
    shown = [one for row in loaded(folder, shows_texts=True).funnel for one in row.examples]
    assert [one.pair for one in quiet] == [one.pair for one in shown]
    assert {one.text for one in quiet} == {""}
    assert all(one.text for one in shown)


def test_the_licence_of_the_source_stands_unless_another_is_named(built):
    folder, report = built
    assert loaded(folder).licence == report.manifest["source"]["licence"]
    assert loaded(folder, licence="mine").licence == "mine"


def test_the_report_of_a_built_dataset_draws_its_funnel(built, tmp_path):
    folder, report = built
    spec = RunSpec("r", (DatasetSpec("built", folder.name),), ("longer",))
    datasets, run = load_datasets(spec, tmp_path), RunFolder(tmp_path / "run")
    begin_run(spec, datasets, {}, run)
    assert all(one.is_done for one in Runner(spec, datasets, run, Models((), tmp_path / "c"), {}).run())
    write_report([run.path])
    table = (run.path / "tables" / "funnel-built.md").read_text()
    assert all(f"| {row.title} | {row.n_pairs:,} | {row.n_users:,} |" in table for row in report.funnel)
    assert (run.path / "pictures" / "funnel-built.png").is_file()


def test_a_folder_that_was_not_built_has_no_funnel(built):
    folder, _ = built
    damage(folder, format="of another tool")
    assert loaded(folder).funnel is None
    (folder / "manifest.json").unlink()
    assert loaded(folder).funnel is None


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"format_version": 99}, NewerVersion, "format version 99"),
        ({"funnel": [{"stage": "original"}]}, CorruptFile, "item 1 of funnel of .* lacks 'title'"),
        ({"funnel": 3}, CorruptFile, "funnel of .* is a whole number, not a list"),
        ({"source": None}, CorruptFile, "licence of .* is empty, not a text"),
        ({"format_version": None}, CorruptFile, "no valid format_version"),
    ],
)
def test_a_damaged_manifest_is_refused_in_one_sentence(built, changes, error, said):
    damage(built[0], **changes)
    with pytest.raises(error, match=said):
        loaded(built[0])


def test_a_funnel_of_wrong_types_is_refused(built):
    folder, report = built
    damage(folder, funnel=[plain(report.funnel[0]) | {"n_pairs": "many"}])
    with pytest.raises(CorruptFile, match=r"n_pairs of item 1 of funnel of .* is a text, not a whole number"):
        loaded(folder)


def test_a_manifest_that_was_cut_short_is_refused(built):
    (built[0] / "manifest.json").write_text('{"format": ')
    with pytest.raises(CorruptFile, match=r"manifest.json' cannot be read \(JSONDecodeError\)"):
        loaded(built[0])
