"""A model live, along one axis: chunks of any length in, what is certain by then out.

`trials` records the model's calls at several lengths, `values` says where time is in each; `rules`
has how each kind of call goes along time; `schedule` counts what is made after so many samples,
`engine` makes it, with what must be kept; `stream` is what users hold, `slots` many at once.
May import: `readers`, `plan`, `geometry` and below. A new kind of call is a rule in `rules`.
"""
