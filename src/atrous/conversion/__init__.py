"""A network at another output stride or at other rates, as a plan: what becomes what, or why not.

Pure functions on networks as data. `dilating` takes strides out, by `rules` that say for each op
what it becomes, `striding` puts them in, `request` chooses between them, `edits` names what
changed. `degridding` closes holes: `rate_graph` has what is read as a function of the rates,
`fewest` searches them, `inserted` puts layers in instead.
May import: `network`, `geometry` and below; no framework.
A new rule is one function in `rules`, registered for its ops, that returns the op made or a
`Refusal`.
"""
