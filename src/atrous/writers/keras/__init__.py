"""Keras models with the changes of a plan: copies whose layers have other settings.

`model` writes the copy, `layers` says what each layer becomes: other settings, paddings and crops
before it, or for a dilated pool, which Keras has not, crops side by side.
May import: `keras`, `conversion` and below.
A new layer is a branch of `changed_layer`; one that Keras cannot express is a `Refusal`.
"""
