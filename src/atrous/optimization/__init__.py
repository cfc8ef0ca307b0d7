"""A model that computes the same, faster: exact ways, measured layer by layer on this machine.

`optimize` goes from end to end; `graph/` prepares the whole, `layer/` times ways to run each layer,
`judge` compares with the original, `module` is what users get, `records` what it explains.
May import: `operators` and below; no network, no reader.
A new pass goes into `graph/`, a new way for a layer into `layer/`.
"""
