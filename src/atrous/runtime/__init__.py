"""Where classes were in 0.1.0: models that it saved name these files, and load through them.

A pickle of a module holds the dotted name of each of its classes. Nothing else imports from here,
and nothing new comes here: a class that moves again gets one more line in the file it was in.
"""
