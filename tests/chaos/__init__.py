"""Damage to every kind of file of a data set, and what loads, readers, restores and the doctor make of it."""
