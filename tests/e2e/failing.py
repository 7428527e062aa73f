"""A page that fails, served with the project's settings: what its error box shows is theirs, not the page's."""

raise RuntimeError("the words of this error stay in the log")
