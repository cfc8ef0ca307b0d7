"""Are two models equal? What the structure proves, what two runs show, and which layer is at fault.

A pair (`torch_pair`, `onnx_pair`, `network_pair`) reads and runs two models of one kind; `proof`
follows their networks, `measured` compares their maps, `certify` puts both halves together.
May import: readers, runners, analysis and below; plans of conversions in `converted` and
`conversion` alone.
A new kind of model is a further pair.
"""
