"""`--per-layer FILE.toml`: amounts for some groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agfedge.allocate.group_choice import read_per_layer
from agfedge_export import ChannelGroups, analyse
from agfedge_runtime.errors import InputError
from pruning import build

Read = Callable[[str | bytes], dict[str, float | int]]

# Groups: stem.weight (8, tied with block.2.weight), block.1.weight (6), neck.weight (10).
GRAPH = """a = Conv(x, "stem.weight")  r = Relu(a)  b = Conv(r, "block.1.weight")  q = Relu(b)
  c = Conv(q, "block.2.weight")  s = Add(c, r)  t = Relu(s)  d = Conv(t, "neck.weight")  e = Relu(d)
  y = Conv(e, "head.weight")"""
SHAPES = {
    "stem.weight": (8, 3, 1, 1),
    "block.1.weight": (6, 8, 1, 1),
    "block.2.weight": (8, 6, 1, 1),
    "neck.weight": (10, 8, 1, 1),
    "head.weight": (4, 10, 1, 1),
}


@pytest.fixture(scope="module")
def groups() -> ChannelGroups:
    body, shapes = GRAPH, {}
    for name, shape in SHAPES.items():  # ONNX text has no quoted names: parse plain ones, then rename
        plain = name.replace(".", "_")
        body = body.replace(f'"{name}"', plain)
        shapes[plain] = shape
    model = build(body, shapes)
    names = {name.replace(".", "_"): name for name in SHAPES}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = names.get(name, name)
    return analyse(model)


@pytest.fixture
def read(groups: ChannelGroups, tmp_path: Path) -> Read:
    def reader(text: str | bytes) -> dict[str, float | int]:
        path = tmp_path / "layers.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return dict(read_per_layer(path, groups))

    return reader


def test_a_name_has_a_share_or_a_number(read: Read) -> None:
    assert read('"neck.weight" = 0.25\n"block.1.weight" = 2\n') == {"neck.weight": 0.25, "block.1.weight": 2}


def test_a_parameter_stands_for_the_group_whose_channels_it_produces(read: Read) -> None:
    assert read('"block.2.weight" = 0.25') == {"stem.weight": 0.25}


def test_a_parameter_that_only_reads_a_groups_channels_does_not_stand_for_it(read: Read) -> None:
    with pytest.raises(InputError, match=r"'head.weight' is kept whole .*an output of the model"):
        read('"head.weight" = 0.25')


def test_unquoted_dots_mean_the_same(read: Read) -> None:
    assert read("neck.weight = 0.25\n[block.1]\nweight = 2\n") == {"neck.weight": 0.25, "block.1.weight": 2}


def test_a_glob_stands_for_every_group_that_it_matches(read: Read) -> None:
    assert read('"*" = 0.25') == {"stem.weight": 0.25, "block.1.weight": 0.25, "neck.weight": 0.25}


def test_a_name_goes_before_globs_and_the_last_glob_before_others(read: Read) -> None:
    found = read('"neck.weight" = 3\n"*" = 0.25\n"neck*" = 0.5\n"block.1*" = 0.75')
    assert found == {"stem.weight": 0.25, "block.1.weight": 0.75, "neck.weight": 3}


def test_two_names_of_one_group_must_agree(read: Read) -> None:
    assert read('"stem.weight" = 0.5\n"block.2.weight" = 0.5') == {"stem.weight": 0.5}
    with pytest.raises(InputError, match=r"'stem.weight' and 'block.2.weight' are channels of one group"):
        read('"stem.weight" = 0.5\n"block.2.weight" = 0.25')


def test_an_empty_file_asks_for_nothing(read: Read) -> None:
    assert read("# nothing\n") == {}


def test_an_unknown_key_lists_close_ones(read: Read) -> None:
    with pytest.raises(InputError, match=r"'neck.wieght' matches no channel group .*did you mean 'neck.weight'"):
        read('"neck.wieght" = 0.25')


@pytest.mark.parametrize(
    "value", ["0.0", "1.5", "-0.5", "nan", "inf", "-1", "11", "true", '"half"', "[0.5]", "1979-05-27"]
)
def test_a_value_that_is_no_amount_is_refused(read: Read, value: str) -> None:
    with pytest.raises(InputError, match=r"'neck.weight' is .*: expected a share in \(0, 1\]"):
        read(f'"neck.weight" = {value}')


@pytest.mark.parametrize("text", ["= 0.5", '"a" = ', "a = 1\na = 2", b"\xff\xfe", "a" * 5000, "a = " + "[" * 5000])
def test_what_is_no_toml_is_one_line(read: Read, text: str | bytes) -> None:
    with pytest.raises(InputError, match="is no TOML: ") as refused:
        read(text)
    assert "\n" not in str(refused.value)


def test_a_folder_is_no_file(groups: ChannelGroups, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_per_layer(tmp_path, groups)
