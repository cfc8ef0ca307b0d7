"""A recipe as one program of the native kernels: all steps of a push in one call, float32, CPU.

`written` has what a program is made of, `calls` and `windows` write the steps of each kind of call,
`joined` makes one step of several, `arena` lays out memory and plans pushes, `engine` runs them.
What a program does not know refuses the whole recipe, which then runs in PyTorch.
May import: `rules`, `schedule`, `engine` of streams, `operators.kernels` and below. A new call is a
function in `calls` or `windows` under its names in ATen.
"""
