"""The interactive page: edit a stack and see what it reads, costs, and how to mend it.

`server` serves it on this machine only, `app` has its addresses, `answers` what they answer, and
`static` the page, whose pictures are the controls; the other files are its parts.
May import: everything but `cli`; Starlette and uvicorn are an extra.
A new part of the page is a function that `answers` calls and a module in `static` that shows it.
"""
