"""The exported program, slimmed: for modules whose code fixes shapes.

Where a module's own code writes sizes down (the padding of a shortcut, the number of heads in a view), slimming its
parameters is not enough. The program that torch exported is the same computation with every size as a constant, and
its node names are the tensor names of the ONNX graph: the sizes that surgery left there are put in their places.

Batch norms follow `train()` and `eval()` again. Dropout, and whatever else the code does in training alone, is not in
the program: it was exported in evaluation mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agfedge.recover.program_sizes import TENSOR, PrunedGraph, Sizes, read_pruned, resize_node
from agfedge.recover.slim import SlimError, names_of, parameter_cuts, place, sliced

if TYPE_CHECKING:
    import onnx
    import torch
    from torch.export import ExportedProgram

    from agfedge_export import Plan


def slim_program(
    program: ExportedProgram, module: torch.nn.Module, plan: Plan, pruned: onnx.ModelProto
) -> torch.nn.Module:
    """Returns the exported program as a module of the pruned sizes; its parameters have the dense module's names.

    Args:
        program: what `export_torch` made of the module.
        module: the dense module: its values, and the momentum of its batch norms.
        plan: what stays.
        pruned: the graph after surgery.

    Raises:
        SlimError: two uses of one parameter keep different indices, or the program does not have one input and one
            output. Whether the rest fits shows when it is run.
    """
    import torch

    from agfedge.recover.norms import revive_norms

    facts = read_pruned(pruned)
    root = torch.nn.Module()
    for name, value in _state(program, module, plan, facts).items():
        place(root, name, value)
    graph = _copied(program, root, facts.output)
    _put_constants(graph, root, facts)
    sizes = Sizes(graph, facts)
    for node in list(graph.nodes):
        resize_node(sizes, node)
    revive_norms(graph, root, module)
    _clean(graph)
    small = torch.fx.GraphModule(root, graph)
    small.train(False)
    return small


def _state(
    program: ExportedProgram, module: torch.nn.Module, plan: Plan, facts: PrunedGraph
) -> dict[str, torch.Tensor]:
    """Returns the program's parameters, buffers and constants at the sizes of the pruned graph.

    What the graph has under a name is taken from there; what it lost or folded is cut as the plan says.
    """
    import torch

    cuts, twins, own = parameter_cuts(plan, module), names_of(module), module.state_dict(keep_vars=True)
    made: dict[int, torch.Tensor] = {}
    state = {}
    for name, exported in {**program.constants, **program.state_dict}.items():
        if not isinstance(exported, torch.Tensor):
            continue
        value = own.get(name, exported)
        if id(value) not in made:
            written = next((each for each in twins.get(name, [name]) if each in facts.stored), None)
            if written is None:
                kept = sliced(value, cuts.get(name, {}))
            else:
                kept = torch.tensor(facts.values[written], dtype=value.dtype)
            trains = isinstance(value, torch.nn.Parameter)
            made[id(value)] = (
                torch.nn.Parameter(kept, written is not None and kept.is_floating_point()) if trains else kept
            )
        state[name] = made[id(value)]
    return state


def _copied(program: ExportedProgram, root: torch.nn.Module, logits: str) -> torch.fx.Graph:
    """Copies the program's graph: parameters become attributes, and the logits its only output.

    Each node knows the name of its tensor in the ONNX graph, as `meta[TENSOR]`.
    """
    import torch
    from torch.export.graph_signature import InputKind, OutputKind

    graph = torch.fx.Graph()
    kinds = dict(
        zip(
            (node for node in program.graph_module.graph.nodes if node.op == "placeholder"),
            program.graph_signature.input_specs,
            strict=True,
        )
    )
    made: dict[torch.fx.Node, torch.fx.Node] = {}
    for node in program.graph_module.graph.nodes:
        if node.op == "output":
            continue
        if node.op == "placeholder" and kinds[node].kind is not InputKind.USER_INPUT:
            made[node] = graph.get_attr(str(kinds[node].target))
            continue
        if node.op == "get_attr":
            place(root, str(node.target), program.graph_module.get_submodule(str(node.target)))
        made[node] = graph.node_copy(node, lambda each: made[each])
        made[node].meta[TENSOR] = node.name
    last = next(node for node in program.graph_module.graph.nodes if node.op == "output")
    outputs = [
        value
        for value, spec in zip(last.args[0], program.graph_signature.output_specs, strict=True)
        if spec.kind is OutputKind.USER_OUTPUT
    ]
    if len(outputs) != 1 or sum(node.op == "placeholder" for node in graph.nodes) != 1:
        raise SlimError("the exported program does not have one input and one output")
    made[outputs[0]].meta[TENSOR] = logits
    graph.output(made[outputs[0]])
    return graph


def _put_constants(graph: torch.fx.Graph, root: torch.nn.Module, facts: PrunedGraph) -> None:
    """Puts in what the pruned graph has as a constant: what the export folded, and what is left of gone branches.

    The constant that a branch leaves is a parameter: it is what the branch adds to each channel, and may be trained.
    """
    import torch

    for node in [each for each in graph.nodes if each.op == "call_function"]:
        name = node.meta[TENSOR]
        if name in facts.stored:
            place(root, name, torch.tensor(facts.values[name]))
            with graph.inserting_before(node):
                node.replace_all_uses_with(graph.get_attr(name))
            continue
        given = facts.nodes[name].input if name in facts.nodes else []
        for position, constant in enumerate(given):
            arguments = list(node.args)
            if not constant.endswith(f"__constant_{position}") or position >= len(arguments):
                continue
            place(root, constant, torch.nn.Parameter(torch.tensor(facts.values[constant])))
            with graph.inserting_before(node):
                arguments[position] = graph.get_attr(constant)
            node.args = tuple(arguments)


def _clean(graph: torch.fx.Graph) -> None:
    """Takes away the export's assertions and all that nothing reads, and lets new tensors follow the input's device."""
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)
    inputs = next(node for node in graph.nodes if node.op == "placeholder")
    placed = [node for node in graph.nodes if node.kwargs.get("device") is not None]
    if placed:
        with graph.inserting_after(inputs):
            device = graph.call_function(getattr, (inputs, "device"))
        for node in placed:
            node.kwargs = {**node.kwargs, "device": device}
    graph.lint()
