import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from tests.bench.runs.simulated_run import DATASET, METHODS, Judge, judged, simulated_run

from personalrm.bench.plan.cells import Cell
from personalrm.bench.report.material import Material, read_published
from personalrm.bench.report.tables import as_markdown
from personalrm.bench.report.writing import PARTS, build_sections, page, write_report
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.records import DatasetInfo, FunnelRow, JudgementRow, ModelInfo, Removed, RunInfo
from personalrm.bench.results.summary import summarize
from personalrm.errors import BadFile, BadInput
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona

pytestmark = pytest.mark.slow  # every report resamples users thousands of times
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A simulated run with its report; read, never changed."""
    path = tmp_path_factory.mktemp("run")
    simulated_run(path)
    write_report([path])
    return path


def small_run(path, cells, *, name="r", datasets=(), models=(), methods=METHODS):
    folder = RunFolder(path)
    folder.write_info(RunInfo(name, methods=methods, models=models, datasets=datasets))
    for cell, rows in cells.items():
        folder.write_cell(cell, rows)
    return folder


def one_cell(cell=None, judge=None, **sizes):
    cell = cell or Cell("d", "default", "m")
    return {cell: judged(cell, judge or Judge(), **sizes)}


def shown(path, texts="allowed"):
    """The page of a run, without drawing a picture."""
    material = Material(summarize(path), [RunFolder(path)], texts)
    return page(material, build_sections(material), {}, [])


def table(path, name):
    """A table of a run as Markdown, without drawing a picture."""
    material = Material(summarize(path), [RunFolder(path)])
    return next(
        as_markdown(one) for _, content in build_sections(material) for one in content.tables if one.name == name
    )


class Reader(HTMLParser):
    """Collects tags and attributes of a page."""

    def __init__(self, text) -> None:
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_page_needs_nothing_from_outside(run) -> None:
    text = (run / "report.html").read_text()
    reader = Reader(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    links = [value for name, value in reader.attributes if name in ("href", "src", "xlink:href")]
    assert [link for link in links if not link.startswith("#")] == []
    assert "default-src 'none'; style-src 'sha256-" in text
    assert not any(name == "style" or name.startswith("on") for name, _ in reader.attributes)


def test_ids_are_unique_and_links_find_them(run) -> None:
    reader = Reader((run / "report.html").read_text())
    ids = [value for name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for name, value in reader.attributes if name == "href"} <= set(ids)


def test_pictures_have_words_and_tables_have_captions(run) -> None:
    text = (run / "report.html").read_text()
    assert text.count("<svg") == text.count('role="img" aria-label="') == text.count("<figcaption>") == 6
    assert text.count("<table") == text.count("<caption>")
    assert text.count("Specification (Vega-Lite)") == 6


def test_every_part_of_the_paper_has_its_place(run) -> None:
    text = (run / "report.html").read_text()
    assert all(f'<section id="{part.name}">' in text for part in PARTS)
    assert text.count("Not asked yet") == 4
    assert {part.paper for part in PARTS} >= {"Table 3", "Table 4", "Table 5", "Figure 3", "Figure 10", "appendix G"}


def test_scripted_models_say_so_wherever_they_are_named(run) -> None:
    assert "Scripted models: small, middle, large." in (run / "report.html").read_text()
    assert "(scripted)" in (run / "tables" / "accuracy-fake_people.csv").read_text()
    assert "(scripted)" in (run / "pictures" / "transfer-fake_people-persona_and_demonstrations.svg").read_text()


def test_files_are_written_in_every_format_and_the_same_again(run) -> None:
    before = {file.relative_to(run): file.read_bytes() for file in run.rglob("*") if file.is_file()}
    write_report([run])
    assert {file.relative_to(run): file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    assert {file.suffix for file in (run / "tables").iterdir()} == {".md", ".csv", ".tex"}
    assert {file.suffix for file in (run / "pictures").iterdir()} == {".svg", ".png", ".json"}
    assert (run / "pictures" / "accuracy-fake_people.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_is_bold_and_what_is_not_told_from_it_is_marked(run) -> None:
    text = (run / "tables" / "accuracy-fake_people.md").read_text()
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines() if line.startswith("|")}
    best = rows["SynthesizeMe, personas + demonstrations"]
    assert [cell.strip().startswith("**") for cell in best] == [False, True, True, True]
    assert "=" in rows["Default"][2]
    assert "**" not in "".join(rows["Random"])


def test_texts_are_shown_where_the_data_allows_it_and_escaped(run) -> None:
    text = (run / "report.html").read_text()
    assert "Sort &lt;b&gt;these&lt;/b&gt;" in text
    assert "Prefers &lt;b&gt;bold&lt;/b&gt; answers, says small." in text


def test_texts_stay_away_where_it_does_not(tmp_path) -> None:
    cell = Cell("d", "persona_and_demonstrations", "m")
    folder = small_run(tmp_path, one_cell(cell), datasets=(replace(DATASET, name="d", shows_texts=False),))
    folder.write_prompt(cell, PersonalPrompt("u01", Persona((Claim("Secret persona."),))))
    report = write_report([tmp_path], output=tmp_path / "out").path.parent
    allowed = "".join(
        file.read_text() for file in (report / "report.html", *report.glob("*.md"), *report.glob("*/*.svg"))
    )
    assert not any(words in allowed for words in ("Secret persona", "What is 2 + 2", "these"))
    assert "c3d4" in allowed
    assert "Personas are left out" in allowed
    everything = shown(tmp_path, "all")
    assert "Secret persona." in everything and "What is 2 + 2" in everything
    assert "Secret persona" not in shown(tmp_path, "none")


def test_examples_of_a_stage_show_every_reason_before_a_second_of_any(tmp_path) -> None:
    removed = tuple(Removed(f"p{n}", reason) for n, reason in enumerate(["easy", "easy", "easy", "wrong"]))
    funnel = (FunnelRow("consensus", 9, 2, 4, {"easy": 3, "wrong": 1}, removed),)
    small_run(tmp_path, one_cell(), datasets=(DatasetInfo("d", funnel=funnel),))
    assert "p0 (easy)<br>p3 (wrong)<br>p1 (easy)" in table(tmp_path, "funnel-d")


def test_a_published_stage_stands_beside_the_stage_of_its_name(tmp_path) -> None:
    funnel = tuple(FunnelRow(name, 9, 2) for name in ("user filter", "user split", "user filter after consensus"))
    data = DatasetInfo("my_arena", funnel=funnel)
    small_run(tmp_path, one_cell(Cell("my_arena", "default", "m")), datasets=(data,))
    rows = table(tmp_path, "funnel-my_arena").splitlines()
    published = {row.split("|")[1].strip(): row.split("|")[-2].strip() for row in rows if row.startswith("| user")}
    assert published == {
        "user filter": "10,092 (1,004)",
        "user split": "\N{EN DASH}",
        "user filter after consensus": "1,338 (131)",
    }


def test_published_numbers_stand_beside_ours_and_say_so(tmp_path) -> None:
    small_run(tmp_path, one_cell(Cell("prism_personalized", "default", "m")))
    text = table(tmp_path, "accuracy-prism_personalized")
    assert "published in the paper, not measured here: 8B" in text
    assert "52.80 [51.6, 54.0]" in text
    assert "elsewhere they are a landmark" in text


def test_a_published_value_is_held_against_the_same_pairs_and_size_only(tmp_path) -> None:
    cell = Cell("arena_personalized", "default", "llama")
    rows = judged(cell, Judge(0.53), n_users=71, n_pairs=4)  # 284 pairs
    small_run(tmp_path, {cell: rows}, models=(ModelInfo("llama", n_parameters=8.03e9),))
    text = shown(tmp_path)
    assert re.search(r"Default, llama: the published 53.7 lies (in|outside) our interval", text)
    small_run(tmp_path, {}, models=(ModelInfo("llama", n_parameters=8e9, is_scripted=True),))
    assert "the published 53.7 lies" not in shown(tmp_path)


def test_the_published_numbers_are_all_there() -> None:
    published = read_published()
    paper = [row for row in published["accuracies"] if row["source"] == "paper"]
    assert (len(paper), len(published["families"]), len(published["accuracies"])) == (73, 14, 150)
    assert all(row["source"] in published["sources"] for row in published["accuracies"])
    assert all(40 < row["accuracy"] < 80 for row in published["accuracies"])


def gate(path, share, n_users=10):
    """The row of the gates table of a judge that names the first of this share of equals."""
    cell = Cell("d", "default", "m")
    firsts = [float(n < share * n_users) for n in range(n_users)]
    equals = [JudgementRow(f"p{n}-0", f"u{n:02}", 0, one, 1.0 - one) for n, one in enumerate(firsts)]
    small_run(path, one_cell(cell) | {replace(cell, control="identical"): equals})
    return next(line for line in table(path, "gates-d").splitlines() if line.startswith("| Default"))


def test_the_gates_tell_who_prefers_a_place_among_equals(tmp_path) -> None:
    assert "names the first of equals" in (first := gate(tmp_path / "a", 1.0)) and "100.0 [100.0, 100.0]" in first
    assert "names the second of equals" in gate(tmp_path / "b", 0.0)
    even = gate(tmp_path / "c", 0.5)
    assert "of equals" not in even and "| 50.0 [20.0, 80.0] |" in even


def test_few_equals_that_happen_to_lean_are_no_warning(tmp_path) -> None:
    assert "of equals" not in gate(tmp_path, 0.7)


# What pictures show


def drawn(path, name):
    """The specification of a picture and its rows."""
    content = json.loads((path / "pictures" / f"{name}.vl.json").read_text())
    return content, content["data"]["values"]


def test_no_two_curves_share_a_place_over_k(run) -> None:
    content, rows = drawn(run, "by-context-fake_people")
    assert all(layer["encoding"]["x"]["field"] == "at" for layer in content["layer"] if "x" in layer["encoding"])
    assert len({row["at"] for row in rows}) == len(rows)
    assert all(abs(row["at"] - row["k"]) < 0.5 for row in rows)
    assert content["layer"][0]["encoding"]["x"]["axis"]["values"] == [1, 2, 4, 8]


def test_points_of_a_method_stand_around_its_line_and_a_lone_one_on_it(run) -> None:
    _, rows = drawn(run, "accuracy-fake_people")
    places = {row["method"]: [one["aside"] for one in rows if one["method"] == row["method"]] for row in rows}
    assert places["Random"] == [0.0]
    assert places["Default"] == [-1.0, 0.0, 1.0]


def test_small_k_are_spread_out_where_large_ones_would_crowd_them(tmp_path) -> None:
    cells = {}
    for k in (1, 2, 4, 32):
        cells |= one_cell(Cell("d", "memory", "m", k=k))
    small_run(tmp_path, cells)
    write_report([tmp_path])
    axis = drawn(tmp_path, "by-context-d")[0]["layer"][0]["encoding"]["x"]
    assert (axis["scale"]["type"], "logarithmic in k + 1" in axis["title"]) == ("symlog", True)


def test_every_picture_says_how_much_was_measured(run) -> None:
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", (run / "report.html").read_text())
    measured = [one for one in captions if "pairs left after each stage" not in one]
    assert len(measured) == 5
    assert all(re.search(r"users, .*target pairs.* unscored [\d,]+ of [\d,]+ judgements", one) for one in measured)


def test_statistics_have_headings_in_words(tmp_path) -> None:
    known = {"n_users": 3, "n_left_out_no_target": 2, "n_new_things": 1, "some_share": 0.5}
    small_run(tmp_path, one_cell(), datasets=(DatasetInfo("d", "12ca1d", statistics=known),))
    heads = table(tmp_path, "datasets").splitlines()[2]
    assert "users left out: no target pairs" in heads and "new things" in heads and "some, %" in heads
    assert "_" not in heads


def test_every_table_of_the_page_stands_in_every_format(run) -> None:
    names = set(re.findall(r'<table id="table-([^"]+)"', (run / "report.html").read_text()))
    assert {file.name for file in (run / "tables").iterdir()} == {
        f"{n}.{end}" for n in names for end in ("md", "csv", "tex")
    }
    pictures = set(re.findall(r'<figure id="figure-([^"]+)"', (run / "report.html").read_text()))
    assert (
        {file.stem for file in (run / "pictures").glob("*.svg")}
        == {f.stem for f in (run / "pictures").glob("*.png")}
        == pictures
    )


def test_a_part_lives_in_the_file_of_its_name() -> None:
    homes = {part.name: part.build.__module__.rsplit(".", 1)[1].replace("_", "-") for part in PARTS if part.build}
    expected = {part.name: "personas" if part.name.startswith("persona") else part.name for part in PARTS}
    assert homes == expected  # all of what personas say and do is one chapter


# Nasty inputs


def test_names_with_html_stay_text(tmp_path) -> None:
    cell = Cell(f"d{SCRIPT}", f"m{SCRIPT}", f"o{SCRIPT}")
    data = DatasetInfo(cell.dataset, SCRIPT, SCRIPT)
    small_run(
        tmp_path,
        one_cell(cell),
        name=SCRIPT,
        datasets=(data,),
        models=(ModelInfo(cell.model, SCRIPT, n_parameters=1e9),),
    )
    assert SCRIPT not in write_report([tmp_path]).path.read_text()
    assert SCRIPT not in (tmp_path / "report.md").read_text()


def test_names_that_turn_lines_around_are_shown_escaped(tmp_path) -> None:
    label = "m\u202e\u2066\x1b[2J\u200b"
    user = "u\u202e"
    cells = one_cell(Cell("d", "default", label))
    cells = {cell: [replace(row, user=row.user + user) for row in rows] for cell, rows in cells.items()}
    small_run(
        tmp_path, cells, name="r\u202e", models=(ModelInfo(label),), datasets=(DatasetInfo("d", licence="l\u202e"),)
    )
    write_report([tmp_path])
    files = [
        tmp_path / "report.html",
        tmp_path / "report.md",
        *(tmp_path / "tables").iterdir(),
        *(tmp_path / "pictures").glob("*.svg"),
    ]
    assert len(files) > 5
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert [sign for sign in "\u202e\u2066\x1b\u200b" if sign in text] == [], file
    assert "m\\u202e\\u2066\\u001b" in (tmp_path / "report.html").read_text()


def test_a_reason_with_html_stays_text(tmp_path) -> None:
    cell = Cell("d", "default", "m")
    rows = [JudgementRow("p", "u", unscored=SCRIPT), JudgementRow("q", "u", margin=1.0)]
    small_run(tmp_path, {cell: rows})
    text = write_report([tmp_path]).path.read_text()
    assert SCRIPT not in text and "&lt;script&gt;" in text


def test_a_cell_nobody_described_is_reported_under_its_own_names(tmp_path) -> None:
    small_run(tmp_path, one_cell(Cell("unknown", "mystery", "ghost")), methods=())
    text = shown(tmp_path)
    assert "mystery" in text and "ghost" in text


def test_all_unscored_is_said_in_words(tmp_path) -> None:
    cell = Cell("d", "default", "m")
    small_run(tmp_path, {cell: [JudgementRow(f"p{n}", "u", unscored="time-out") for n in range(4)]})
    assert "not scored (4 unscored)" in shown(tmp_path)


def test_one_user_has_no_interval_and_no_crash(tmp_path) -> None:
    small_run(tmp_path, one_cell(n_users=1) | one_cell(Cell("d", "memory", "m"), n_users=1))
    text = (write_report([tmp_path]).path.parent / "tables" / "accuracy-d.md").read_text()
    assert "1 user, 6 target pairs" in text
    assert "nan" not in text.lower()


def test_huge_ids_and_names_of_any_script_fit(tmp_path) -> None:
    cell = Cell("數據" * 200, "default", "модель" * 500)
    row = JudgementRow("p", "u" * 100_000, margin=1.0)
    small_run(tmp_path, {cell: [row, JudgementRow("q", "v", margin=-1.0)]})
    written = write_report([tmp_path])
    assert written.n_tables > 2
    assert max(len(file.name) for file in tmp_path.rglob("*")) < 200


def test_a_cut_file_is_named_and_the_rest_reported(tmp_path) -> None:
    cells = one_cell() | one_cell(Cell("d", "memory", "m"))
    small_run(tmp_path, cells)
    path = tmp_path / "judgements" / f"{Cell('d', 'memory', 'm').name}.jsonl"
    path.write_text(path.read_text()[:2_000])
    written = write_report([tmp_path])
    assert len(written.summary.left_out) == 1
    assert "memory" in written.path.read_text()


def test_two_names_that_look_alike_as_file_names_do_not_overwrite_each_other(tmp_path) -> None:
    small_run(tmp_path, one_cell(Cell("a b", "default", "m")) | one_cell(Cell("a-b", "default", "m")))
    write_report([tmp_path])
    assert len(list((tmp_path / "tables").glob("accuracy-a-b*.csv"))) == 2


def test_several_runs_need_a_place_for_their_report(tmp_path) -> None:
    small_run(tmp_path / "a", one_cell())
    small_run(tmp_path / "b", one_cell(Cell("e", "default", "m")))
    with pytest.raises(BadInput, match="name a folder with --output"):
        write_report([tmp_path / "a", tmp_path / "b"])
    text = write_report([tmp_path / "a", tmp_path / "b"], output=tmp_path / "both").path.read_text()
    assert "d: accuracy in percent" in text and "e: accuracy in percent" in text
    assert not (tmp_path / "a" / "report.html").exists()


def test_a_folder_without_a_run_is_refused(tmp_path) -> None:
    with pytest.raises(BadFile, match="holds no run"):
        write_report([tmp_path])


@pytest.mark.parametrize("module", ["altair", "vl_convert"])
def test_without_the_extra_the_tables_are_still_written(tmp_path, monkeypatch, module) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    small_run(tmp_path, one_cell())
    written = write_report([tmp_path])
    assert written.n_tables > 2 and written.n_pictures == 0
    assert len(written.notes) == 1 and "pip install 'personalrm[plots]'" in written.notes[0]
    assert "No pictures were drawn" in written.path.read_text()


def test_a_user_without_personas_is_told(run) -> None:
    material = Material(summarize(run), [RunFolder(run)], user="nobody")
    assert "No stored persona belongs to user" in page(material, build_sections(material), {}, [])


def test_the_command_prints_the_table_and_says_what_was_left_out(tmp_path, capsys) -> None:
    from personalrm.cli import main

    small_run(tmp_path, one_cell())
    assert main(["bench", "report", str(tmp_path)]) == 0
    assert "default" in capsys.readouterr().out
    (tmp_path / "judgements" / "x.jsonl").write_text("{")
    assert main(["bench", "report", str(tmp_path)]) == 3
    assert "left out: " in capsys.readouterr().err
    assert main(["bench", "report", str(tmp_path / "none")]) == 2
    assert json.loads((tmp_path / "summary.json").read_text())["left_out"]
