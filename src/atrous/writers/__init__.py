"""Plans into models, the mirror of `readers/`: one folder a framework, which knows no other.

May import: `conversion`, readers, `network` and below, its framework.
A new framework is a folder with `model`, from a model and a plan to a new model or a `Refusal`, and
`save`, which writes it whole or not at all.
"""
