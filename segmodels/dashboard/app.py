"""What Streamlit runs for whoever looks: the pages and the way between them."""

import streamlit as st

from segmodels.dashboard.pages import compare, failures, leaderboard


def main() -> None:
    st.set_page_config(page_title="segmodels", page_icon=":material/texture:", layout="wide")
    pages = [
        st.Page(leaderboard.show, title="Leaderboard", icon=":material/leaderboard:", url_path="leaderboard", default=True),
        st.Page(compare.show, title="Compare", icon=":material/compare:", url_path="compare"),
        st.Page(failures.show, title="Failures", icon=":material/error_outline:", url_path="failures"),
    ]
    st.navigation(pages, position="top").run()


main()
