"""A recipe as one program of the native kernels: all steps of a push in one call, float32, CPU.

`written` has what a program is made of, and in which columns of a row a value's numbers lie.
`calls`, `windows`, `grids` (across another axis) and `recurrent` write the steps of each kind of
call; `folded` puts batch norms into weights, `joined` makes one step of several. `arena` lays out
memory and plans pushes, `ports` turns what goes in and out,
`engine` runs them. What a program does not know refuses the whole recipe, which then runs in
PyTorch.
May import: `rules`, `schedule`, `engine` of streams, `operators.kernels` and below. A new call is a
function in `calls`, `windows` or `recurrent` under its names in ATen.
"""
