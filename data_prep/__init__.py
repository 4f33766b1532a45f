"""Recipes: one file per data set, each turns a folder on disk into the rows of a manifest."""
