"""Keras models with the changes of a plan: copies whose layers have other settings.

`model` writes the copy, `layers` says what each layer becomes: other settings, paddings and crops
before it, or for a dilated pool, which Keras has not, crops side by side.
May import: `keras`, `conversion` and below.
A layer that none of this can express is a `Refusal` that names it.
"""
