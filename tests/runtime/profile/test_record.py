"""What is measured is kept while it is measured, and read back whatever cut it short."""

from __future__ import annotations

import json

import numpy as np
import pytest

from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.measure import header_of, record_decisions
from agfedge_runtime.profile.record import Reader, read_record, read_samples
from agfedge_runtime.profile.recorder import FLUSH_S, Recorder, SideFile, side_path


def recorded(tiny, writer=None, decisions: int = 6) -> Recorder:
    """A recorder that has taken decisions, and was not ended."""
    cascade = tiny.cascade()
    recorder = Recorder(header_of(cascade), () if writer is None else (writer,))
    order = np.arange(6)
    record_decisions(cascade, tiny.mixed(), order, recorder, decisions=decisions, warmup=0, min_seconds=0)
    return recorder


@pytest.fixture
def written(tiny):
    """All lines of a whole record, and its samples."""
    lines: list[str] = []
    recorder = recorded(tiny, lines.append)
    samples = recorder.end(complete=True, state={"watts": 5.5})
    return "".join(lines), samples


def test_a_record_gives_the_samples_that_its_end_gave(written):
    text, samples = written
    assert read_record(text.splitlines()).samples().to_json() == samples.to_json()
    assert samples.complete
    assert samples.state == {"watts": 5.5}


def test_wherever_a_record_is_cut_its_whole_decisions_are_read_as_incomplete(written, tmp_path):
    text, samples = written
    begin = text.index("\n[") + 1
    for end in range(begin, len(text) - 1, 7):
        whole = text[begin:end].count("\n")
        rows = min(whole + (text[end] == "\n"), 6)
        (tmp_path / "cut").write_text(text[:end])
        if rows == 0:
            with pytest.raises(InputError, match="no decision was recorded"):
                read_samples(tmp_path / "cut")
            continue
        found = read_samples(tmp_path / "cut")
        assert not found.complete
        assert found.labels.tolist() == samples.labels[:rows].tolist()
        np.testing.assert_array_equal(found.stage_us["heavy"], samples.stage_us["heavy"][:rows])


def test_whole_samples_are_read_from_the_same_place(written, tmp_path):
    (tmp_path / "whole.json").write_text(written[1].to_json())
    assert read_samples(tmp_path / "whole.json").to_json() == written[1].to_json()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "not plain JSON"),
        ("hello", "not plain JSON"),
        ('{"record": 1}\n', "of another release"),
        ('{"record": 2}\n{"section": "decisions"}\n[1]\n', "section without columns"),
        ('{"record": 2}\n[1, 2]\n[1, 2]\n', "row that does not fit"),
        ('{"record": 2}\nhello\n[1]\n', "no JSON"),
        ('{"record": 2}\n"text"\n[1]\n', "of another kind"),
        ('{"record": 2}\n', "no decision was recorded"),
    ],
)
def test_a_file_that_is_neither_is_one_line(tmp_path, text, part):
    (tmp_path / "bad").write_text(text)
    with pytest.raises(InputError, match=part) as caught:
        read_samples(tmp_path / "bad")
    assert str(tmp_path / "bad") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_of_values_that_cannot_be_is_refused(written):
    lines = written[0].splitlines()
    row = json.loads(lines[2])
    row[2] = 9
    with pytest.raises(InputError, match="branches"):
        read_record([*lines[:2], json.dumps(row), *lines[3:]]).samples()


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError, match="missing: cannot be read: No such file"):
        read_samples(tmp_path / "missing")


def test_a_reader_tells_which_lines_are_decisions(written):
    reader = Reader()
    assert [reader.add(line) for line in written[0].splitlines()] == [False, False, *[True] * 6, False]


def test_rows_are_handed_on_once_a_second_and_at_the_end():
    now, lines = [100.0], []
    recorder = Recorder({}, (lines.append,), now=lambda: now[0])
    recorder.section("decisions", ("n",))
    for number in range(10):
        now[0] = 100 + number * FLUSH_S / 4
        recorder.add([number])
    rows = [line for line in lines if line.startswith("[")]
    assert rows == ["[0]\n[1]\n[2]\n[3]\n[4]\n", "[5]\n[6]\n[7]\n[8]\n"]
    recorder.flush()
    assert lines[-1] == "[9]\n"


def test_a_row_is_kept_before_what_ends_the_measurement_may_come():
    def end() -> None:
        raise KeyboardInterrupt

    recorder = Recorder({}, checkpoint=end)
    recorder.section("decisions", ("n",))
    with pytest.raises(KeyboardInterrupt):
        recorder.add([1])
    assert recorder.record.decisions == 1


def test_the_side_file_stays_with_decisions_in_it_and_goes_without(tiny, tmp_path):
    path = side_path(tmp_path / "samples.json")
    with SideFile(path) as side:
        side.write('{"record": 2}\n')
        assert path.read_text() == '{"record": 2}\n', "it is there at once"
    assert not path.exists()
    with SideFile(path) as side:
        recorded(tiny, side.write).flush()
    assert len(read_samples(path)) == 6
    with SideFile(path) as side:
        recorded(tiny, side.write).flush()
        side.remove()
    assert not path.exists()


def test_a_side_file_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be written: No such file or directory; choose another --out"):
        SideFile(tmp_path / "no" / "such" / "file")
