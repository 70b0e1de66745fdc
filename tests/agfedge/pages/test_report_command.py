"""`agfedge report`: from files to a page, to tables, and to one line where they are no samples."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agfedge.cli import main
from agfedge_runtime import Bundle
from agfedge_runtime.profile.samples import Samples
from made_samples import made_samples


@pytest.fixture
def run_file(samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("run.json").write_text(samples.to_json())
    return Path("run.json")


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main(["report", *map(str, arguments)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_samples_and_their_bundle_become_a_page(
    run_file: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "run.json", str(bundle.path)]) == 0
    told = capsys.readouterr().out
    assert "The cascade takes" in told
    assert told.endswith("page: report.html\n")
    page = Path("report.html").read_text(encoding="utf-8")
    assert f"agfedge report run.json {bundle.path}" in page
    assert "agfedge profile: tiny" in page


def test_the_command_is_told_as_it_was_typed(run_file: Path) -> None:
    assert main(["report", "run.json", "--out", "a page.html"]) == 0
    page = Path("a page.html").read_text(encoding="utf-8")
    assert "agfedge report run.json --out &#x27;a page.html&#x27;" in page
    assert str(Path.cwd()) not in page


def test_a_profile_writes_the_page_of_its_own_account(
    run_file: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", str(bundle.path), "--from-samples", "run.json", "--report", "page.html"]) == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert "agfedge profile: tiny" in page
    assert f"agfedge profile {bundle.path} --from-samples run.json --report page.html" in page
    capsys.readouterr()
    assert main(["profile", str(bundle.path), "--from-samples", "run.json", "--report", "run.json"]) == 1
    assert capsys.readouterr().err.startswith("agfedge: --report run.json would replace run.json")


def test_labels_give_accuracies(
    run_file: Path, bundle: Bundle, samples: Samples, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("data.npz", x=np.zeros((len(samples), 2, 2, 1), np.uint8), y=samples.labels % 2)
    assert main(["report", "run.json", str(bundle.path), "--data", "data.npz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["profiles"][0]["account"]
    expected = float((samples.labels == samples.labels % 2).mean())
    assert found["cascade"]["accuracy"]["value"] == pytest.approx(expected)


def test_csv_is_tidy(run_file: Path, samples: Samples, capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.json").write_text(samples.to_json())
    assert main(["report", "run.json", "other.json", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["profile", "section", "name", "value", "unit", "low", "high", "n"]
    assert len({(row["profile"], row["section"], row["name"]) for row in rows}) == len(rows)
    found = next(row for row in rows if row["profile"] == "other" and row["name"] == "cascade: mean")
    assert float(found["value"]) == pytest.approx(samples.cascade_us.mean())
    assert float(found["low"]) < float(found["value"]) < float(found["high"])
    assert int(found["n"]) == len(samples)


def test_json_is_the_account_with_what_changed(
    run_file: Path, samples: Samples, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.json").write_text(samples.to_json())
    assert main(["report", "run.json", "other.json", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in found["profiles"]] == ["run", "other"]
    assert found["profiles"][0]["account"]["decisions"] == len(samples)
    assert found["changes"][0]["profile"] == "other"


@pytest.mark.parametrize("files", [["run.json"], ["run.json", "other.json"]])
def test_markdown_has_tables_whose_rows_are_as_wide_as_their_heads(
    run_file: Path, samples: Samples, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.json").write_text(samples.to_json())
    assert main(["report", *files, "--format", "md"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("## ")
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) > 4
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1


def test_a_trace_comes_beside_the_page(run_file: Path) -> None:
    assert main(["report", "run.json", "--trace", "trace.json"]) == 0
    assert json.loads(Path("trace.json").read_text(encoding="utf-8"))["traceEvents"]
    assert Path("report.html").is_file()


@pytest.mark.slow
def test_samples_of_another_bundle_are_warned_of(
    run_file: Path, samples: Samples, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.json").write_text(replace(samples, bundle_digest="cd" * 32).to_json())
    assert main(["report", "other.json", str(bundle.path)]) == 0
    assert capsys.readouterr().out.startswith("INVALID: other: these samples are of bundle cdcdcdcdcdcd")
    assert main(["report", "run.json", "other.json", str(bundle.path)]) == 0
    assert capsys.readouterr().err.startswith("agfedge: WARNING: these are profiles of different bundles")
    page = Path("report.html").read_text(encoding="utf-8")
    assert page.index("different bundles") < page.index('class="verdict"')


@pytest.mark.slow
def test_of_two_bundles_each_profile_finds_its_own(
    run_file: Path, samples: Samples, bundle: Bundle, tmp_path: Path, write_tiny_bundle,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    second = write_tiny_bundle(tmp_path / "second", confidence=0.8)
    Path("other.json").write_text(replace(samples, bundle_digest=second.digest).to_json())
    assert main(["report", "run.json", "other.json", str(second.path), str(bundle.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(each["account"]["reconciliation"] is not None for each in found["profiles"])
    assert main(["report", "run.json", str(second.path), str(bundle.path), "--json"]) == 0
    assert "it is left out" in json.loads(capsys.readouterr().out)["warnings"][0]


def test_files_of_one_name_are_told_apart_by_their_folders(run_file: Path, samples: Samples) -> None:
    Path("orin").mkdir()
    Path("orin/run.json").write_text(samples.to_json())
    assert main(["report", "run.json", "orin/run.json", "--format", "csv", "--out", "rows.csv"]) == 0
    assert "\norin/run,latency," in Path("rows.csv").read_text()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not json", "run.json: samples"),
        (b"\xff\xfe\x00", "run.json: samples"),
        (b'{"record": 99}', "run.json: this is no record"),
        (b"{}", "run.json: samples"),
        (b'{"schema": 1}', "run.json: samples"),
        (b"", "run.json: samples"),
    ],
)
def test_a_file_that_is_no_samples_is_one_line(
    run_file: Path, content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file.write_bytes(content)
    assert said in complaint(capsys, run_file)


def test_samples_of_another_schema_are_one_line(
    run_file: Path, samples: Samples, capsys: pytest.CaptureFixture[str]
) -> None:
    old = json.loads(samples.to_json())
    Path("old.json").write_text(json.dumps({**old, "schema": 1}))
    said = complaint(capsys, run_file, "old.json")
    assert said.startswith("agfedge: old.json: ")
    assert "schema" in said


def test_samples_without_a_decision_are_one_line(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_file.write_text(made_samples(0).to_json())
    assert "run.json: the samples hold no decision" in complaint(capsys, run_file)


@pytest.mark.parametrize("name", ["cascade_us", "heavy_us", "start_s"])
def test_times_that_are_missing_are_one_line(run_file: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run_file.read_text())
    document[name][3] = None
    run_file.write_text(json.dumps(document))
    assert f"run.json: {name}" in complaint(capsys, run_file)


def test_a_run_that_was_killed_is_reported_as_incomplete(
    run_file: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = replace(made_samples(40), bundle_digest=bundle.digest, complete=False)
    Path("killed.json").write_text(samples.to_json())
    assert main(["report", "killed.json", str(bundle.path)]) == 0
    assert capsys.readouterr().out.startswith("INVALID: killed: the run was cut short after 40 decisions")


def test_a_page_does_not_go_into_a_bundle(run_file: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    page = bundle.path / "report.html"
    assert "lies in a bundle" in complaint(capsys, run_file, "--out", page)
    assert Bundle.open(bundle.path).digest == bundle.digest


def test_page_and_trace_are_two_files(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--trace x would replace x" in complaint(capsys, run_file, "--out", "x", "--trace", "x")


def test_a_bundle_alone_is_one_line(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert "agfedge profile BUNDLE --out SAMPLES.json" in complaint(capsys, bundle.path)


def test_nothing_there_and_no_bundle_are_one_line(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing at nowhere.json" in complaint(capsys, "nowhere.json")
    Path("empty").mkdir()
    assert "manifest.json" in complaint(capsys, run_file, "empty")


def test_labels_of_other_data_are_one_line(run_file: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("few.npz", x=np.zeros((4, 2, 2, 1), np.uint8), y=np.zeros(4, np.int64))
    assert "give the same data" in complaint(capsys, run_file, bundle.path, "--data", "few.npz")


def test_a_series_that_is_malformed_is_one_line(
    run_file: Path, samples: Samples, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {**(samples.state or {}), "series": {"t_s": [0.1], "total_w": ["much"]}}
    run_file.write_text(replace(samples, state=broken).to_json())
    assert "state.series" in complaint(capsys, run_file)


@pytest.mark.parametrize(
    ("flag", "place"), [("--out", "nowhere/page.html"), ("--out", "."), ("--out", "run.json"), ("--trace", "run.json")]
)
def test_a_file_that_cannot_be_written_is_one_line_before_any_work(
    run_file: Path, flag: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run_file.read_bytes()
    assert complaint(capsys, run_file, flag, place).startswith(f"agfedge: {flag} {place}")
    assert run_file.read_bytes() == before
    assert not Path("report.html").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_line(run_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("closed").mkdir(mode=0o500)
    assert "may not be written" in complaint(capsys, run_file, "--out", "closed/page.html")
