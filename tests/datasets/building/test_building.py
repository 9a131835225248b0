"""A benchmark built from raw Arena- and PRISM-layout files: the funnel to the row, kills, resumption, odd inputs."""

import gzip
import json
import os
import shutil
import signal
from collections import Counter
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path

import pytest
from benchmarks.simulations.raw_sources import (
    Planted,
    arena_rows,
    planted_filter,
    planted_judge,
    prism_rows,
    survey_rows,
    write_lines,
)
from tests.fakes.forked import exit_code, imported_by_forked

from personalrm.datasets.building.build import WORK, Build, BuildReport
from personalrm.datasets.building.model_stages import NOT_ANSWERED, Consensus, Personalizable, open_caller
from personalrm.datasets.building.publishing import run_build
from personalrm.datasets.building.settings import BuildSettings
from personalrm.datasets.building.stage_files import read_users
from personalrm.datasets.building.stages import split_users
from personalrm.datasets.personalizable import PersonalizableFilter
from personalrm.datasets.published import load_benchmark
from personalrm.datasets.sources import open_source
from personalrm.errors import BadFile, BadInput, ModelUnavailable, StoreError, UnknownName
from personalrm.judging.model import ModelJudge
from personalrm.lm.settings import Budget, Limits, Pot, Retry
from personalrm.preferences.reading.options import ReadOptions
from personalrm.testing import ScriptedLM

CONTESTED = ("contested",)
AFTER_FILTER = ("contested", "plain", "trap")
pytestmark = pytest.mark.slow
imported_by_forked(__name__)
JUDGES = (planted_judge(), planted_judge("second"))


def models(rule=planted_filter, judges=JUDGES):
    return ScriptedLM(rule, name="filter"), [ScriptedLM(one, name=f"judge{k}") for k, one in enumerate(judges)]


def build(path, out, *, settings=None, lms=None, asking=None, watch=lambda point: None, options=None, **more):
    """The report, the models asked, and the callers' closing seen to."""
    asked, judging = lms or models()
    how = {"retry": Retry(max_attempts=2, base_s=0.001)} | (asking or {})
    callers = [open_caller(lm, out / WORK, **how) for lm in (asked, *judging)]
    try:
        made = Build(
            out,
            open_source(path, options),
            settings,
            personalizable=Personalizable(PersonalizableFilter(callers[0])),
            consensus=Consensus(tuple(ModelJudge(caller) for caller in callers[1:])),
            retry_unscored=how.get("retry_unscored", False),
            **more,
        )
        return run_build(made, watch=watch)
    finally:
        for caller in callers:
            caller.close()


@pytest.fixture
def arena(tmp_path):
    """A raw Arena file and what is planted in it."""
    rows = list(arena_rows(30, 8))
    return write_lines(tmp_path / "arena.jsonl", (row for row, _ in rows)), [planted for _, planted in rows if planted]


@dataclass(frozen=True)
class Built:
    """A build of such a file, to be looked at; `copied_to` gives one to go on with."""

    path: Path
    planted: list[Planted]
    folder: Path
    report: BuildReport

    def copied_to(self, folder):
        return shutil.copytree(self.folder, folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    rows = list(arena_rows(30, 8))
    path = write_lines(folder / "arena.jsonl", (row for row, _ in rows))
    report = build(path, folder / "out")
    return Built(path, [planted for _, planted in rows if planted], folder / "out", report)


def left(planted, marks=None, enough=0):
    """The planted pairs with these marks, of users with enough of them."""
    kept = [one for one in planted if marks is None or one.mark in marks]
    n = Counter(one.user_id for one in kept)
    return [one for one in kept if n[one.user_id] >= enough]


def counts(planted):
    return len(planted), len({one.user_id for one in planted})


def expected_funnel(planted):
    """What every stage must leave, worked out from what was planted."""
    enough = left(planted, enough=5)
    personal = left(enough, AFTER_FILTER)
    again = left(personal, enough=5)
    contested = left(again, CONTESTED)
    last = left(contested, enough=5)
    return [counts(one) for one in (planted, enough, enough, personal, again, contested, last, last)]


def files(out):
    return {path.name: path.read_bytes() for path in (*sorted((out / "data").iterdir()), *out.glob("[!.]*.*"))}


def test_the_funnel_is_right_to_the_row(built):
    assert [(row.n_pairs, row.n_users) for row in built.report.funnel] == expected_funnel(built.planted)


def test_reasons_count_exactly_what_was_planted(built):
    funnel = {row.stage: row for row in built.report.funnel}
    marks = Counter(one.mark for one in left(built.planted, enough=5))
    asked_of = Counter(one.mark for one in left(left(left(built.planted, enough=5), AFTER_FILTER), enough=5))
    assert list(funnel["personalizable"].removed.values()) == [marks["same"], marks["fact"]]
    assert list(funnel["consensus"].removed.values()) == [asked_of["trap"], asked_of["plain"]]


def test_every_row_of_the_funnel_adds_up(built):
    for before, after in pairwise(built.report.funnel):
        assert before.n_pairs - after.n_pairs == after.n_pairs_removed == sum(after.removed.values())
        assert before.n_users - after.n_users == after.n_users_removed


def test_ties_are_counted_in_the_first_row(built):
    notes = built.report.funnel[0].notes
    assert notes["no pair: tie"] == notes["rows"] - len(built.planted)


def test_examples_show_what_was_removed_and_why(built):
    funnel = {row.stage: row for row in built.report.funnel}
    assert all("plus one" in one.query for one in funnel["personalizable"].examples if "request" in one.reason)
    assert len(funnel["personalizable"].examples) == 6


def test_examples_can_be_had_without_texts(arena, tmp_path):
    report = build(arena[0], tmp_path / "out", settings=BuildSettings(shows_text=False))
    assert {one.query for row in report.funnel for one in row.examples} == {""}


def test_the_dataset_loads_as_a_benchmark_with_its_splits(built):
    found = load_benchmark(built.folder)
    for split, users in found.users.items():
        assert len(users) == built.report.manifest["statistics"][split]["n_users"]
        assert all(pair.split in ("train", "validation", "target") for user in users for pair in user.pairs)
    assert all(0.0 < pair.meta["agreement"] < 1.0 for user in found.users["test"] for pair in user.pairs)


def test_users_are_split_before_the_models_are_asked(built):
    sizes = Counter(one.user_id for one in left(built.planted, enough=5))
    wanted = split_users(sizes, (0.4, 0.1, 0.5), 0)
    found = load_benchmark(built.folder).users
    assert all(wanted[user.user_id] == split for split, users in found.items() for user in users)


def test_users_can_be_split_at_the_end(arena, tmp_path):
    report = build(arena[0], tmp_path / "out", settings=BuildSettings(split_at="end"))
    n = {split: counted["n_users"] for split, counted in report.manifest["statistics"].items()}
    last = report.funnel[-1].n_users
    assert abs(n["train"] - 0.4 * last) <= 2 and abs(n["test"] - 0.5 * last) <= 2


def test_a_finished_build_asks_nothing_twice_and_keeps_its_bytes(built, tmp_path):
    out, again = built.copied_to(tmp_path / "out"), models()
    report = build(built.path, out, lms=again)
    assert (len(again[0].requests), report.n_reused, files(out)) == (0, 8, files(built.folder))


def test_other_settings_reuse_the_stages_before_them(built, tmp_path):
    report = build(built.path, built.copied_to(tmp_path / "out"), settings=BuildSettings(min_pairs=6))
    assert report.n_reused == 1


def test_a_damaged_stage_is_made_again(built, tmp_path):
    out = built.copied_to(tmp_path / "out")
    stage = next((out / WORK).glob("03-*.gz"))
    stage.write_bytes(stage.read_bytes()[:-20])
    build(built.path, out)
    assert files(out) == files(built.folder)


@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet"])
def test_files_of_every_kind_hold_the_same_pairs(built, tmp_path, kind):
    build(built.path, tmp_path / "other", settings=BuildSettings(kind=kind))
    plain, other = load_benchmark(built.folder), load_benchmark(tmp_path / "other")
    assert {name: [user.pairs for user in users] for name, users in plain.users.items()} == {
        name: [user.pairs for user in users] for name, users in other.users.items()
    }


def test_a_dataset_folder_tells_no_times_and_no_machine_paths(built, tmp_path):
    build(built.path, tmp_path / "again")
    assert files(tmp_path / "again") == files(built.folder)
    for folder in (tmp_path, built.path.parent):
        assert str(folder) not in (tmp_path / "again" / "manifest.json").read_text()


def test_prism_builds_with_its_survey(tmp_path):
    raw = tmp_path / "prism"
    rows = list(prism_rows(30, 4))
    write_lines(raw / "conversations.jsonl", (row for row, _ in rows))
    write_lines(raw / "survey.jsonl", survey_rows(35))
    report = build(raw, tmp_path / "out")
    planted = [one for _, some in rows for one in some]
    assert [(row.n_pairs, row.n_users) for row in report.funnel] == expected_funnel(planted)
    assert report.funnel[0].notes["scored responses"] == 2 * len(planted)
    assert len(load_benchmark(tmp_path / "out").surveys) == report.funnel[-1].n_users


def test_a_conversation_of_prism_stays_on_one_side_of_the_split(tmp_path):
    write_lines(tmp_path / "conversations.jsonl", (row for row, _ in prism_rows(30, 4)))
    build(tmp_path / "conversations.jsonl", tmp_path / "out")
    for users in load_benchmark(tmp_path / "out").users.values():
        for user in users:
            parts = {(pair.conversation_id, pair.split) for pair in user.pairs}
            assert len(parts) == len({name for name, _ in parts})


def test_the_accuracy_of_the_filter_is_not_measured_unless_it_was(built):
    assert built.report.manifest["filter_accuracy"] == "not measured"
    assert "personalizable filter: not measured" in (built.folder / "README.md").read_text()


def test_pairs_no_model_answers_are_left_out_and_asked_again_on_wish(arena, tmp_path):
    broken = models(rule=lambda messages: "I would rather not say.")
    with pytest.raises(BadInput, match="personalizable filter' leaves no pair"):
        build(arena[0], tmp_path / "out", lms=broken)
    quiet = models()
    with pytest.raises(BadInput, match="leaves no pair"):
        build(arena[0], tmp_path / "out", lms=quiet)
    report = build(arena[0], tmp_path / "out", asking={"retry": Retry(2, 0, 0.001), "retry_unscored": True})
    assert report.funnel[-1].n_pairs and NOT_ANSWERED not in report.funnel[3].removed


def test_a_judge_that_fails_leaves_the_decision_to_the_others_and_is_counted(arena, tmp_path):
    silent = models(judges=(planted_judge(), lambda messages: "no idea"))
    funnel = {row.stage: row for row in build(arena[0], tmp_path / "out", lms=silent).funnel}
    notes = funnel["consensus"].notes
    assert notes["judgements"] == notes["judgements without a usable answer"]
    assert funnel["consensus"].removed == {
        "mistake or adversarial: all judges wrong": funnel["consensus"].removed[
            "mistake or adversarial: all judges wrong"
        ],
        "too obvious: all judges right": funnel["consensus"].removed["too obvious: all judges right"],
    }


def test_which_completion_was_chosen_does_not_show_in_the_filter(built, tmp_path):
    pairs = [pair for user in read_users(next((built.folder / WORK).glob("02-*.gz"))) for pair in user.pairs]
    asked = PersonalizableFilter(open_caller(models()[0], tmp_path / "none"))
    assert all(asked.pair_request(one).messages == asked.pair_request(one.reversed()).messages for one in pairs[:20])


def test_a_budget_is_one_sum_for_all_models_and_a_later_run_goes_on(arena, tmp_path):
    few = models()
    asking = {"retry": Retry(2, 0, 0.001), "budget": Budget(max_calls=300, pot=Pot())}
    with pytest.raises(ModelUnavailable, match="300 calls is spent"):
        build(arena[0], tmp_path / "out", lms=few, asking=asking)
    assert sum(len(lm.requests) for lm in (few[0], *few[1])) == 300
    more, whole = models(), models()
    build(arena[0], tmp_path / "out", lms=more)
    build(arena[0], tmp_path / "whole", lms=whole)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert 300 + sum(len(lm.requests) for lm in (more[0], *more[1])) == sum(
        len(lm.requests) for lm in (whole[0], *whole[1])
    )


def build_and_die(path, out, point, n_calls):
    """A build in a process that kills itself at a point, or as the models are asked for the n-th time."""
    n = count(1)

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(rule):
        return lambda messages: die() if next(n) == n_calls else rule(messages)

    lms = models(counted(planted_filter), (counted(planted_judge()), counted(planted_judge("second"))))
    build(path, out, lms=lms, settings=FEW, watch=lambda reached: reached == point and die())


FEW = BuildSettings(min_pairs=3)
STAGES = ("original", "user_filter", "user_split", "personalizable", "user_filter_after_personalizable", "consensus",
          "user_filter_after_consensus", "pair_split")  # fmt: skip
POINTS = [f"{stage} {what}" for stage in STAGES for what in ("begun", "written", "done")]


def killed(path, out, point="", n_calls=0):
    assert exit_code(build_and_die, path, out, point, n_calls) == -signal.SIGKILL


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A raw file, what its build leaves when nothing stops it, and how many calls that takes."""
    folder = tmp_path_factory.mktemp("whole")
    path = write_lines(folder / "arena.jsonl", (row for row, _ in arena_rows(15, 8)))
    lms = models()
    build(path, folder / "out", lms=lms, settings=FEW)
    return path, files(folder / "out"), n_asked(lms)


def n_asked(lms):
    return sum(len(lm.requests) for lm in (lms[0], *lms[1]))


@pytest.mark.parametrize("point", [*POINTS, "dataset begun", "files written", "dataset done"])
def test_a_build_killed_at_any_stage_resumes_to_the_same_bytes(uninterrupted, tmp_path, point):
    path, expected, n_calls = uninterrupted
    killed(path, tmp_path / "out", point)
    rest = models()
    build(path, tmp_path / "out", lms=rest, settings=FEW)
    assert files(tmp_path / "out") == expected
    assert n_asked(rest) < n_calls or point.split()[0] in STAGES[:4]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 0.95])
def test_a_build_killed_between_two_answers_pays_only_those_under_way_again(uninterrupted, tmp_path, share):
    path, expected, total = uninterrupted
    n_calls = int(share * total)
    killed(path, tmp_path / "out", n_calls=n_calls)
    rest = models()
    build(path, tmp_path / "out", lms=rest, settings=FEW)
    assert files(tmp_path / "out") == expected
    assert n_calls + n_asked(rest) <= total + 2 * Limits().max_in_flight


def test_thousands_of_rows_are_right_to_the_row(tmp_path):
    rows = list(arena_rows(300, 10, seed=1))
    path = write_lines(tmp_path / "arena.jsonl", (row for row, _ in rows))
    asked, _ = models()
    with open_caller(asked, tmp_path / "out" / WORK) as caller:
        found = Build(tmp_path / "out", open_source(path), personalizable=Personalizable(PersonalizableFilter(caller)))
        report = run_build(found)
    planted = [one for _, one in rows if one]
    enough = left(planted, enough=5)
    personal = left(enough, AFTER_FILTER)
    assert [(row.n_pairs, row.n_users) for row in report.funnel][:5] == [
        counts(one) for one in (planted, enough, enough, personal, left(personal, enough=5))
    ]
    assert len(rows) > 2_500


def test_bad_rows_stop_a_build_before_anything_is_asked(arena, tmp_path):
    arena[0].write_text(arena[0].read_text() + '{"winner": "model_a"}\n')
    lms = models()
    with pytest.raises(BadInput, match="bad row"):
        build(arena[0], tmp_path / "out", lms=lms)
    assert lms[0].requests == []


def test_bad_rows_can_be_left_out_and_are_counted(arena, tmp_path):
    arena[0].write_text(arena[0].read_text() + "{\n")
    report = build(arena[0], tmp_path / "out", options=ReadOptions(skip_bad=True))
    assert report.n_bad_rows == 1


NASTY = [
    ("empty", lambda path: path.write_text(""), BadFile, "is empty"),
    ("not UTF-8", lambda path: path.write_bytes(b"\xff\xfe{}"), BadFile, "not UTF-8"),
    (
        "cut gzip",
        lambda path: path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(b"{}" * 99)[:-9]),
        BadFile,
        "gzip",
    ),
    ("no Arena", lambda path: path.write_text('{"a": 1}\n'), UnknownName, "fit no known layout"),
    ("deep", lambda path: path.write_text("[" * 100_000 + "\n"), BadInput, "bad row"),
    (
        "only ties",
        lambda path: write_lines(path, ({**row, "winner": "tie"} for row, _ in arena_rows(3, 3))),
        BadInput,
        "leaves no pair",
    ),
    (
        "one user's few",
        lambda path: write_lines(path, (row for row, _ in arena_rows(1, 1))),
        BadInput,
        "leaves no pair",
    ),
    ("a folder with nothing", lambda path: path.mkdir(), BadFile, "does not hold files with rows"),
    ("nothing there", lambda path: None, UnknownName, "neither a file nor a folder"),
]


@pytest.mark.parametrize(("damage", "error", "said"), [case[1:] for case in NASTY], ids=[case[0] for case in NASTY])
def test_a_nasty_source_is_refused_in_one_sentence(tmp_path, damage, error, said):
    path = tmp_path / "raw.jsonl"
    damage(path)
    packed = path.with_suffix(".jsonl.gz")
    with pytest.raises(error, match=said):
        build(packed if packed.exists() else path, tmp_path / "out")


def test_a_folder_that_holds_something_else_is_left_alone(arena, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    made = Build(tmp_path / "out", open_source(arena[0]))
    with pytest.raises(BadInput, match="no build left there"):
        run_build(made)


def test_an_output_that_is_a_file_is_refused(arena, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(BadInput, match="is a file"):
        run_build(Build(tmp_path / "out", open_source(arena[0])))


def test_a_folder_that_cannot_be_written_is_told(arena, tmp_path):
    (tmp_path / "file").write_text("")  # not a matter of rights, which do not bind root
    with pytest.raises(StoreError, match="cannot be written"):
        run_build(Build(tmp_path / "file" / "out", open_source(arena[0])))


def test_a_card_shows_text_as_text(tmp_path):
    rows = (row for row, _ in arena_rows(20, 8))
    hostile = json.loads(json.dumps(list(rows)).replace("What is to your taste", "<script>alert(1)</script>| # taste"))
    build(write_lines(tmp_path / "a.jsonl", iter(hostile)), tmp_path / "out", settings=BuildSettings(min_pairs=2))
    assert "<script>" not in (tmp_path / "out" / "README.md").read_text().replace("\\<script\\>", "")
