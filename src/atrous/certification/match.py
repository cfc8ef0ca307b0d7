"""Which node of one network is which node of another: by parameters, then names, then modules."""

from __future__ import annotations

from collections import defaultdict

from atrous.network import Network, Node

__all__ = ["matched"]


def matched(reference: Network, candidate: Network) -> dict[str, Node]:
    """For the nodes of the reference, by name, their twins in the candidate; none for the rest.

    Nodes with the same parameters are twins, the n-th use of each with the n-th; then the calls of
    one name in one module, in order, where both networks have as many; then the one node of a
    module with the last one of the module that has its name.
    """
    found: dict[str, Node] = {}
    taken: set[str] = set()

    def pair(one: Node, two: Node) -> None:
        found[one.name] = two
        taken.add(two.name)

    by_params: dict[tuple[str, tuple[str, ...]], list[Node]] = defaultdict(list)
    for node in candidate.nodes:
        if node.params:
            by_params[node.kind, node.params].append(node)
    uses: dict[tuple[str, tuple[str, ...]], int] = defaultdict(int)
    for node in reference.nodes:
        if not node.params:
            continue
        key = node.kind, node.params
        twins = by_params.get(key, [])
        if uses[key] < len(twins):
            pair(node, twins[uses[key]])
        uses[key] += 1
    here, there = _calls(reference), _calls(candidate)
    for call, nodes in here.items():
        twins = there.get(call, [])
        if len(nodes) != len(twins):
            # One more or less: which is which, the names do not say.
            continue
        for node, twin in zip(nodes, twins, strict=True):
            if node.name not in found and twin.name not in taken:
                pair(node, twin)
    own: dict[str, list[Node]] = defaultdict(list)
    for node in reference.nodes:
        own[node.module].append(node)
    last: dict[str, Node] = {}
    for node in candidate.nodes:
        last[node.module] = node
    for node in reference.nodes:
        twin = last.get(node.module, node)
        if (
            node.name not in found
            and node.module
            and len(own[node.module]) == 1
            and twin is not node
            and twin.name not in taken
        ):
            pair(node, twin)
    return found


def _calls(network: Network) -> dict[tuple[str, str, str], list[Node]]:
    """Nodes by module, kind and name, the number of the call left out."""
    found: dict[tuple[str, str, str], list[Node]] = defaultdict(list)
    for node in network.nodes:
        found[node.module, node.kind, node.name.rpartition("@")[0] or node.name].append(node)
    return found
