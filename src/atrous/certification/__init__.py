"""Are two models equal?"""
