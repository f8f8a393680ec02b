"""What Streamlit runs for whoever looks: the pages and the way between them."""

import streamlit as st

from segmodels.dashboard import shown
from segmodels.dashboard.views import compare, data, failures, leaderboard, model, retrains


def main() -> None:
    st.set_page_config(page_title="segmodels", page_icon=shown.icon(), layout="wide")
    pages = [
        st.Page(
            shown.whole(leaderboard.show),
            title="Leaderboard",
            icon=":material/leaderboard:",
            url_path="leaderboard",
            default=True,
        ),
        st.Page(shown.whole(compare.show), title="Compare", icon=":material/compare:", url_path="compare"),
        st.Page(shown.whole(failures.show), title="Failures", icon=":material/error_outline:", url_path="failures"),
        st.Page(shown.whole(data.show), title="Data", icon=":material/photo_library:", url_path="data"),
        st.Page(shown.whole(retrains.show), title="Retrains", icon=":material/history:", url_path="retrains"),
        st.Page(shown.whole(model.show), title="Model card", icon=":material/badge:", url_path="model"),
    ]
    st.html(shown.STYLE)
    st.navigation(pages, position="top").run()


main()
