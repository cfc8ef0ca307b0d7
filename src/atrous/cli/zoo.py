"""`zoo`: the known networks."""

from __future__ import annotations

from atrous.cli.options import Json
from atrous.cli.output import show, show_json

__all__ = ["zoo"]


def zoo(json: Json = False) -> None:
    """The known networks: parameters, output stride, receptive field, coverage.

    Wide terminals also see each network's usual input and the coarsest stride inside it.
    """
    from atrous.analysis import inspect_network
    from atrous.network import zoo
    from atrous.report import NetworksView

    entries = [zoo.entry(name) for name in zoo.names()]
    reports = [inspect_network(entry.build()) for entry in entries]
    if json:
        networks = [
            {
                **entry.to_dict(),
                "params": report.params,
                "macs": report.macs,
                "field": [axis.to_dict() for axis in report.outputs[-1].field],
                "is_global": report.outputs[-1].is_global,
            }
            for entry, report in zip(entries, reports, strict=True)
        ]
        show_json({"schema": "atrous.zoo/1", "networks": networks})
        return
    show(
        NetworksView(
            [
                (entry.name, entry.summary, report)
                for entry, report in zip(entries, reports, strict=True)
            ]
        )
    )
