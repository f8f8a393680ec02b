"""The pages, one a file, each with a function `show`. Not in a folder `pages`, which Streamlit would take for pages of its own kind."""
