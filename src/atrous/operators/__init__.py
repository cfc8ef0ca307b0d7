"""One convolution, exactly: of arrays and of tensors, by sums that anybody can check and fast.

`conv` takes what users give, `convolution` is the record of it, `reference` the slow and obvious
sum that every fast path is tested against.
May import: `geometry` and below, numpy; PyTorch in `with_torch`, `strategies/` and `kernels/`.
A new strategy goes into `strategies/`, and `conv` runs it where `with_torch` chooses it; native
code goes into `kernels/` and `native/`.
"""
