"""A network at another output stride, as a plan: which op changes into what, or why it may not.

Pure functions on networks as data. `dilating` takes strides out, by `rules` that say for each op
what it becomes, `striding` puts them in, `request` chooses between them, `edits` names what
changed.
May import: `network`, `geometry` and below; no framework.
A new rule is one function in `rules`, registered for its ops, that returns the op made or a
`Refusal`.
"""
