"""A version of the registry: where it comes from, what it scores, how to load it."""

from typing import Any

import pandas as pd
import streamlit as st

from segmodels import records
from segmodels.dashboard import current, shown, source, trying
from segmodels.errors import InputError
from segmodels.records import CHAMPION, DATASET, CandidateRun, Version

LINEAGE = {
    "segmodels.bundle_sha256": "bundle",
    DATASET: "prepared dataset",
    "segmodels.git_commit": "git commit",
    "segmodels.dvc_lock_sha256": "dvc.lock",
    "segmodels.params_sha256": "params.yaml",
    "segmodels.backend": "scored on",
    "segmodels.precision": "in",
}


def show() -> None:
    shown.page(
        "Model card",
        "Any version of the registry: from the champion to its dataset, commit and params; what it scores; how to load it.",
    )
    project = current.project()
    versions = current.versions(project)
    if not versions:
        st.info("No version was registered yet; run `make retrain`, or `make demo` for a first look.", icon=":material/info:")
        return
    by_number = {one.version: one for one in versions}
    champion = next((place for place, one in enumerate(versions) if CHAMPION in one.aliases), 0)
    version = by_number[
        shown.choose("Version", list(by_number), default=champion, told=lambda one: _called(by_number[one]), key="version")
    ]
    run = next((one for one in current.candidate_runs(project) if one.run_id == version.run_id), None)
    scores = records.report(version.run_id, "reports/scores.json")  # which another test set changes
    _decided(version)
    if scores is not None:
        _scores(scores)
    left, right = st.columns(2, gap="large")
    with left:
        _lineage(version, run)
    with right:
        _loading(project, version)
    _trying(version)
    card = source.card(project, version.version)
    if card is not None:
        with st.expander("The card that lies in the bundle"):
            st.code(card, language="markdown", wrap_lines=True)


def _trying(version: Version) -> None:
    st.subheader("Try it on an image of your own")
    dropped = st.file_uploader(
        "An image", type=["png", "jpg", "jpeg", "tif", "tiff", "webp", "bmp"], help="It stays on this machine, and is not kept."
    )
    if dropped is None:
        return
    content = dropped.getvalue()
    try:
        overlay = _overlay(version.bundle_sha256, content, version)
    except InputError as error:
        st.error(shown.text(str(error)))
        return
    st.image(overlay, caption="the image with the mask over it, in the colours of the version's own classes")


@st.cache_data(max_entries=16, show_spinner="the version predicts; the first time takes some seconds")
def _overlay(bundle_sha256: str, content: bytes, _version: Version) -> bytes:
    return trying.of_upload(_version, content)


def _called(version: Version) -> str:
    names = f", {', '.join(version.aliases)}" if version.aliases else ""
    return f"{version.version}: {version.candidate}{names}"


def _decided(version: Version) -> None:
    if version.outcome is None:
        st.caption("Nothing was decided about it yet.")
    else:
        st.markdown(
            f"Registered {shown.when(version.registered)}; decided: **{version.outcome}**: {shown.text(version.reason or '')}."
        )
    if version.rolled_back:
        st.warning("A person has gone back from this version.")


def _scores(scores: dict[str, Any]) -> None:
    with st.grid(4):
        st.metric("Test mIoU", f"{scores['miou']:.4f}")
        st.metric(
            "ms an image",
            f"{scores['latency_ms']:.1f}",
            help=f"by {scores['backend']} {scores['precision']} on {scores['device']}",
        )
        st.metric("Parameters, M", f"{scores['num_parameters'] / 1e6:.2f}")
        error = scores["calibration"]["error"]
        st.metric(
            "Calibration error",
            "none" if error is None else f"{error:.1%}",
            help="How far its own probabilities are from how often it is right.",
        )
    columns = {
        key: shown.score(label)
        for key, label in (("iou", "IoU"), ("dice", "Dice"), ("precision", "precision"), ("recall", "recall"))
    }
    columns |= {"boundary_iou": shown.score("boundary IoU"), "name": "class", "num_images": "test images that show it"}
    shown.table(pd.DataFrame(scores["classes"]), columns, alt="scores of each class", key="classes")


def _lineage(version: Version, run: CandidateRun | None) -> None:
    st.subheader("Where it comes from")
    rows = [{"what": told, "is": version.tags.get(tag, "not noted")} for tag, told in LINEAGE.items()]
    rows.append({"what": "MLflow's run", "is": version.run_id})
    if version.previous is not None:
        rows.append({"what": "champion before it", "is": f"version {version.previous}"})
    shown.table(pd.DataFrame(rows), {}, alt="hashes and commit that the version comes from", key="lineage")
    if run is not None:
        with st.expander("Params it was trained by"):
            params = pd.DataFrame({"param": list(run.params), "value": list(run.params.values())})
            shown.table(params, {}, alt="params of the training", key="trained by")
    st.caption(f"`make reproduce VERSION={version.version}` trains and scores it anew from these records.")


def _loading(project: str, version: Version) -> None:
    st.subheader("How to load it")
    address = f"models:/{project}@{CHAMPION}" if CHAMPION in version.aliases else f"models:/{project}/{version.version}"
    st.code(
        f'import mlflow\n\nmodel = mlflow.pyfunc.load_model("{address}")\nmask = model.predict(image)  # H x W x channels',
        language="python",
    )
    st.caption("The champion over HTTP: `make serve`. On files: `segmodels predict IMAGE --bundle bundles/<candidate>`.")
