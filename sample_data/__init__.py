"""The planted world: a seeded generator of a believable support assistant, and small exports of it."""
