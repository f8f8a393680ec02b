"""The model card: what a bundle is, what it was trained on, how good it is and how it is used, as Hugging Face's hub reads it.

Metadata in the hub's form stand before text in Markdown (arXiv:1810.03993 says what belongs into it).
"""

from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from segmodels.bundle_facts import Facts

NAME = "README.md"
WEAK = 0.5
"""A class with a lower IoU is said to be found unreliably."""

SNIPPET = """\
from pathlib import Path

from segmodels.bundle import load
from segmodels.images import read_image, write_mask
from segmodels.predict import Predictor

bundle = load(Path("."))  # the folder that this file is in
mask = Predictor(bundle)(read_image(Path("image.png"), bundle.kind))
write_mask(Path("mask.png"), mask, bundle.classes)
"""
_OVERLAPPING = """\
for one, layer in zip((one for one in bundle.classes if not one.ignore), mask, strict=True):  # classes overlap: a mask each
    Image.fromarray(255 * layer).save(f"{one.name}.png")
"""


def text(facts: Facts, scores: dict[str, Any] | None = None) -> str:
    """The card of a bundle.

    Args:
        scores: the candidate's entry of the leaderboard, if it has been scored on the test images: with the interval of its mIoU.
    """
    parts = [_title(facts), *([] if scores is None else [_scores(scores)]), _limits(facts, scores), _use(facts), _origin(facts)]
    return f"---\n{_metadata(facts, scores).to_yaml()}\n---\n\n" + "\n".join(parts)


def _metadata(facts: Facts, scores: dict[str, Any] | None) -> ModelCardData:
    results = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type="segmodels",
            dataset_name=f"test images of dataset {facts.dataset_sha256[:12]}",
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=round(scores[key], 4),
        )
        for kind, name, key in (("mean_iou", "mean IoU", "miou"), ("accuracy", "pixel accuracy", "pixel_accuracy"))
        if scores is not None and scores[key] is not None
    ]
    return ModelCardData(
        model_name=facts.candidate,
        pipeline_tag="image-segmentation",
        library_name="segmodels",
        tags=["semantic-segmentation", facts.architecture, facts.encoder, *(["onnx"] if _has_onnx(facts) else []), "safetensors"],
        eval_results=results or None,
    )


def _has_onnx(facts: Facts) -> bool:
    return "model.onnx" in facts.files


def _title(facts: Facts) -> str:
    names = ", ".join(one.name for one in facts.classes if not one.ignore)
    return (
        f"# {facts.candidate}\n\n{facts.architecture} on {facts.encoder}, {facts.num_parameters / 1e6:.1f} M parameters, {facts.task}.\n\n"
        f"Takes images of any size with {facts.channels} channels of {facts.bits} bits and gives each pixel a class of: {names}.\n"
    )


def _scores(scores: dict[str, Any]) -> str:
    interval = f" (95 % interval {scores['miou_low']:.4f} to {scores['miou_high']:.4f})" if "miou_low" in scores else ""
    rows = [
        f"| {one['name']} | {'-' if one['iou'] is None else format(one['iou'], '.4f')} | {one['num_images']} |"
        for one in scores["classes"]
    ]
    return "\n".join(
        [
            "## Scores\n",
            f"Mean IoU {scores['miou']:.4f}{interval} on {scores['num_images']} test images, void ignored.\n",
            "| class | IoU | images that show it |",
            "|---|---:|---:|",
            *rows,
            "",
        ]
    )


def _limits(facts: Facts, scores: dict[str, Any] | None) -> str:
    lines = [
        f"- The largest training images were {facts.largest_px[0]} x {facts.largest_px[1]} pixels (height x width), seen at {facts.scale:.2f} of "
        f"their size: what is smaller there than a few pixels is missed. Much larger images are seen in tiles.",
        "- Images of other cameras, places or seasons than those of training are not known to it; label some and train again.",
    ]
    if scores is None:
        lines.append("- It has not been scored on test images here.")
    else:
        weak = [str(one["name"]) for one in scores["classes"] if one["iou"] is not None and one["iou"] < WEAK]
        unseen = [str(one["name"]) for one in scores["classes"] if one["iou"] is None]
        lines += [f"- Found unreliably (IoU below {WEAK}): {', '.join(weak)}."] if weak else []
        lines += [f"- In no test image, so that nothing is known: {', '.join(unseen)}."] if unseen else []
    return "## Limits\n\n" + "\n".join(lines) + "\n"


def _use(facts: Facts) -> str:
    told = f"## Use\n\nWith the package `segmodels` installed:\n\n```python\n{_snippet(facts)}```\n\n"
    if not _has_onnx(facts):
        return told
    return told + (
        "`model.onnx` is the same network for other programs: input `images`, uint8 or uint16, batch x channels x height x width, as they were "
        "taken; output `logits`. What else its user must know, the file says in its metadata.\n"
    )


def _snippet(facts: Facts) -> str:
    if facts.task != "multilabel":
        return SNIPPET
    begin = SNIPPET[: SNIPPET.index("write_mask(")]
    return begin.replace("\n\n", "\n\nfrom PIL import Image\n", 1).replace("read_image, write_mask", "read_image") + _OVERLAPPING


def _origin(facts: Facts) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    return (
        "## Origin\n\n"
        f"- dataset: sha256 `{facts.dataset_sha256}`\n"
        f"- code: git commit `{facts.git_commit or 'unknown'}`; {versions}\n"
        "- settings, decisions and their reasons: `training` in `bundle.json`\n"
    )
