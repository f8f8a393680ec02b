"""The pages, one a file, each with a function `show`."""
