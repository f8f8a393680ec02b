"""The model of params.yaml. Unknown keys and bad values fail before any work, with the key's path and the nearest right key."""

import json
import re
import zoneinfo
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import pydantic
import yaml
from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field

from segmodels import catalog, safe_yaml
from segmodels.bundle_facts import Export
from segmodels.errors import ParamsError
from segmodels.samples import MAX_CLASSES, ImageKind, SegmentationClass, Task, default_color

# names become folders, DVC stage names and URLs: nothing that any of these reads as more than a name
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Weights = Annotated[str, Field(pattern=r"^imagenet$|\.safetensors$")]
Auto = Literal["auto"]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Component(BaseModel):
    """A component's name and, beside it, its options: `{name: poly, power: 0.9}`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Term(Component):
    """One loss of a weighted sum: `{name: dice, weight: 0.5}`."""

    weight: float = Field(default=1.0, gt=0)


class Recipe(BaseModel):
    """An augmentation: the recipe's file and, beside it, its options: `{recipe: light, noise: 0.1}`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    recipe: str
    copies: int = Field(default=0, ge=0)  # of every training image, drawn beforehand; 0: drawn as they are wanted

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Dataset(Section):
    format: str = "auto"
    task: Auto | Task = "auto"
    channels: int = Field(default=3, ge=1, le=64)  # of the images: 1 for gray, 3 for RGB, more are read from TIFF
    bits: Literal[8, 16] = 8  # a channel
    max_megapixels: float = Field(default=50, gt=0)  # of an image; what claims more is refused before it is decoded

    @property
    def kind(self) -> ImageKind:
        return ImageKind(self.channels, self.bits)


class ClassEntry(Section):
    name: str
    id: int = Field(ge=0, le=65535)
    color: tuple[int, int, int] | None = None
    ignore: bool = False


class Splits(Section):
    method: Literal["auto", "given", "group"] = "auto"
    group: str | None = None  # regular expression on the sample's id; its first group is the key
    val: Share = 0.15
    test: Share = 0.2
    vault: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the test scenes that no score sees
    seed: int = 0
    near_duplicates: Literal["together", "ignore"] = "together"  # where splits are drawn
    on_leak: Literal["report", "error"] = "report"


class Training(Section):
    # dvc.yaml names the first, which must therefore stand in the file
    size_px: Auto | tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]]  # height, width
    epochs: Auto | Annotated[int, Field(ge=1)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1)] = "auto"
    micro_batch_size: int | None = Field(default=None, ge=1)
    learning_rate: Auto | Annotated[float, Field(gt=0)] = "auto"
    normalisation: Auto | Literal["dataset", "imagenet"] = "auto"
    encoder_rate: float = Field(default=1.0, gt=0)
    warmup_epochs: float = Field(default=0.0, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_clip: float | None = Field(default=None, gt=0)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    freeze_encoder_epochs: int = Field(default=0, ge=0)
    balanced_crops: float = Field(default=0.0, ge=0, le=1)
    early_stopping_patience: int | None = Field(default=None, ge=1)  # epochs without a better validation mIoU
    devices: int = Field(default=1, ge=1)
    strategy: Literal["ddp", "ddp_bf16"] = "ddp"
    checkpoint_steps: int = Field(default=500, ge=1)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    deterministic: bool = False
    export: Export = "onnx"  # what else the network is written as
    seed: int = Field(ge=0, lt=2**32)


class Candidate(Section):
    architecture: str
    encoder: str | None = None  # None: the architecture's own default
    weights: Weights | None = None
    options: dict[str, Any] = {}
    loss: Term | Annotated[list[Term], Field(min_length=1)]
    schedule: Component
    augmentation: Name
    training: dict[str, Any] = {}  # what differs from the common training

    @property
    def terms(self) -> list[Term]:
        return self.loss if isinstance(self.loss, list) else [self.loss]


class Gate(Section):
    min_miou: float = Field(default=0.0, ge=0, le=1)
    max_latency_ms: float | None = Field(default=None, gt=0)
    max_memory_mb: float | None = Field(default=None, gt=0)
    false_promotions_per_year: float = Field(default=0.05, gt=0)
    gates_per_year: int = Field(default=365, ge=1)
    class_margin: float = Field(default=0.02, gt=0, le=1)
    anchor_margin: float = Field(default=0.005, gt=0, le=1)
    vault_openings_per_year: int = Field(default=6, ge=1, le=20)
    test_set: Annotated[str, Field(pattern=r"^[0-9a-f]{12,64}$")] | None = None  # the changed test set that may be scored on

    @pydantic.model_validator(mode="after")
    def _asks_for_evidence(self) -> Self:
        if self.false_promotions_per_year > self.gates_per_year / 2:
            raise ValueError(
                f"false_promotions_per_year is {self.false_promotions_per_year:g} in {self.gates_per_year} gates a year: nothing would need "
                f"to be shown; give at most {self.gates_per_year / 2:g}"
            )
        return self


class Resources(Section):
    slots: Auto | Annotated[int, Field(ge=1)] = "auto"
    engine: Literal["local", "ray"] = "local"
    address: str = "auto"  # of the Ray cluster


class Schedule(Section):
    cron: str | None = None  # minute hour day month weekday
    timezone: str = "UTC"
    watch_seconds: float | None = Field(default=60, ge=1)  # how often the dataset is looked at

    @pydantic.field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                CronSim(value, datetime.now())
                if re.search(r"[LW]", value.split()[2]) or re.search(r"\dL|#", value.split()[4]):  # Prefect has none of these
                    raise CronSimError
        except CronSimError:
            expected = "expected minute, hour, day, month and weekday, such as '0 3 * * *' for every night at three"
            raise ValueError(f"is {value!r}; {expected}") from None
        return value

    @pydantic.field_validator("timezone")
    @classmethod
    def _is_timezone(cls, value: str) -> str:
        if value not in zoneinfo.available_timezones():
            raise ValueError(f"is {value!r}; expected a name such as UTC or Europe/Berlin")
        return value


Port = Annotated[int, Field(ge=1, le=65535)]


class Servers(Section):
    mlflow_port: Port = 5000
    prefect_port: Port = 4200


Event = Literal["promoted", "kept", "failed"]


class Notifications(Section):
    events: list[Event] = ["promoted", "kept", "failed"]


class Params(Section):
    project: Name
    # what dvc.yaml names must stand in the file, since DVC knows no defaults: these three, and training.seed
    dataset: Dataset
    classes: Auto | Annotated[list[str | ClassEntry], Field(min_length=1, max_length=MAX_CLASSES)]
    splits: Splits
    augmentations: dict[Name, Recipe]
    candidates: dict[Name, Candidate] = Field(min_length=1)
    training: Training
    gate: Gate = Gate()
    resources: Resources = Resources()
    schedule: Schedule = Schedule()
    servers: Servers = Servers()
    notifications: Notifications = Notifications()

    def candidate(self, name: str) -> Candidate:
        _check_key("candidates", name, self.candidates)
        return self.candidates[name]

    def augmentation(self, name: str) -> Recipe:
        _check_key("augmentations", name, self.augmentations)
        return self.augmentations[name]

    def resolved_candidate(self, name: str) -> dict[str, Any]:
        """Everything that decides how a candidate trains, as plain values."""
        chosen = self.candidate(name)
        return {
            **chosen.model_dump(mode="json", exclude={"training"}),
            "encoder": self.encoder_of(name),
            "augmentation": {"name": chosen.augmentation, **self.augmentation(chosen.augmentation).model_dump(mode="json")},
            "training": self.training_of(name).model_dump(mode="json"),
        }

    def encoder_of(self, name: str) -> str:
        """The candidate's encoder, or its architecture's default."""
        chosen = self.candidate(name)
        return chosen.encoder or str(catalog.default("architectures", chosen.architecture, "encoder"))

    def training_of(self, name: str) -> Training:
        """The common training with what the candidate changes."""
        return Training.model_validate(self.training.model_dump() | self.candidate(name).training)

    def same_but_for_the_seed(self) -> list[list[str]]:
        """The candidates that differ by nothing but `training.seed`: several of a kind."""
        kinds: dict[str, list[str]] = {}
        for name in self.candidates:
            settings = self.resolved_candidate(name)
            del settings["training"]["seed"]
            kinds.setdefault(json.dumps(settings, sort_keys=True), []).append(name)
        return [names for names in kinds.values() if len(names) > 1]

    def listed_classes(self) -> list[SegmentationClass] | None:
        """The classes params.yaml names, None for `auto`. A bare name has its position as id."""
        if self.classes == "auto":
            return None
        entries = [ClassEntry(name=c, id=i) if isinstance(c, str) else c for i, c in enumerate(self.classes)]
        return [
            SegmentationClass(one.name, one.id, one.color or default_color(index), one.ignore)
            for index, one in enumerate(entries)
        ]


def read(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: lists every wrong key and value, each with its path, what is allowed and the nearest right key.
    """
    try:
        raw = safe_yaml.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"{path}: file is missing; run in the project's folder or give --params") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ParamsError(f"{path}: expected keys such as `project:` and `candidates:`, found {type(raw).__name__}")
    try:
        params = Params.model_validate(raw)
        problems = _check_components(params)
    except pydantic.ValidationError as error:
        problems = _explain(error)
    if problems:
        raise ParamsError("\n".join([f"{path}: {len(problems)} wrong", *(f"  - {problem}" for problem in problems)]))
    return params


def to_yaml(params: Params) -> str:
    """The resolved params: what params.yaml says and the defaults of what it does not say."""
    return yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def agreed_format(params: Params, asked: str) -> str:
    """The format to read a new dataset in, given what its owner asks for.

    Raises:
        ParamsError: `prepare` would later read it in another one.
    """
    if asked == "auto" or params.dataset.format in ("auto", asked):
        return params.dataset.format if asked == "auto" else asked
    raise ParamsError(
        f"dataset.format: is {params.dataset.format!r}, but the dataset is said to be {asked!r}; "
        f"set dataset.format to {asked} or auto in params.yaml"
    )


def _check_key(section: str, name: str, known: dict[str, Any]) -> None:
    if name not in known:
        raise ParamsError(f"{section}: there is no {name!r}{catalog.nearest(name, known)}; there are: {', '.join(known)}")


def _check_components(params: Params) -> list[str]:
    """What only the catalog and the other sections can tell: names of files, their options, references."""
    problems: list[str] = []

    def check(where: str, folder: str, name: str, options: dict[str, Any]) -> None:
        try:
            catalog.checked_options(folder, name, options)
        except ParamsError as error:
            problems.append(f"{where}: {error}")

    if params.dataset.format != "auto":
        try:
            catalog.check("formats", params.dataset.format)
        except ParamsError as error:
            problems.append(f"dataset.format: {error}")
    for key, recipe in params.augmentations.items():
        check(f"augmentations.{key}", "augmentations", recipe.recipe, recipe.options)
    for key, candidate in params.candidates.items():
        where = f"candidates.{key}"
        check(f"{where}.architecture", "architectures", candidate.architecture, candidate.options)
        for term in candidate.terms:
            weights = term.options.get("class_weights")
            named = isinstance(weights, str)  # auto is settled when the dataset is known
            if named and weights != "auto":
                problems.append(f"{where}.loss.class_weights: is {weights!r}; expected auto or a list of numbers, one a class")
            check(f"{where}.loss", "losses", term.name, term.options | ({"class_weights": None} if named else {}))
        check(f"{where}.schedule", "schedules", candidate.schedule.name, candidate.schedule.options)
        if candidate.augmentation not in params.augmentations:
            near = catalog.nearest(candidate.augmentation, params.augmentations)
            known = ", ".join(params.augmentations)
            problems.append(f"{where}.augmentation: there is no {candidate.augmentation!r}{near}; there are: {known}")
        elif params.augmentations[candidate.augmentation].copies and candidate.training.get(
            "balanced_crops", params.training.balanced_crops
        ):
            problems.append(
                f"{where}.training.balanced_crops: crops are drawn as they are wanted, but augmentations.{candidate.augmentation}.copies "
                f"is {params.augmentations[candidate.augmentation].copies}; set one of the two to 0"
            )
        try:
            if params.training_of(key).size_px != params.training.size_px:
                problems.append(
                    f"{where}.training.size_px: is {candidate.training['size_px']}; all candidates share training.size_px"
                )
        except pydantic.ValidationError as error:
            problems += _explain(error, under=("candidates", key, "training"), model=Training)
    if params.splits.group is not None:
        problems += _wrong_pattern(params.splits.group)
    if params.splits.val + params.splits.test >= 1:
        problems.append(f"splits: val {params.splits.val} + test {params.splits.test} leave nothing to train on; lower them")
    classes = params.listed_classes() or []
    if len({c.name for c in classes}) < len(classes) or len({c.value for c in classes}) < len(classes):
        problems.append("classes: a name or an id stands twice")
    return problems


def _wrong_pattern(pattern: str) -> list[str]:
    try:
        if re.compile(pattern).groups < 1:
            return [f"splits.group: {pattern!r} has no group in parentheses to take the key from, e.g. '^([^_]+)_'"]
    except re.error as error:
        return [f"splits.group: {pattern!r} is no regular expression: {error}"]
    return []


def _explain(errors: pydantic.ValidationError, under: tuple[str, ...] = (), model: type[BaseModel] = Params) -> list[str]:
    """One sentence a mistake. Of alternatives, which pydantic tries one after the other, that which was followed furthest counts."""
    found: dict[tuple[str | int, ...], list[Any]] = {}
    for one in errors.errors():
        found.setdefault(_place(one), []).append(one)
    deepest = [place for place in found if not any(place == other[: len(place)] != other for other in found)]
    return [_sentence(place, found[place], under, model) for place in deepest]


def _place(error: Any) -> tuple[str | int, ...]:
    """The keys that lead to the mistake, without what pydantic adds: which alternative it tried, that a key is meant."""
    location = error["loc"]
    last = len(location) - 1 if error["type"] in ("extra_forbidden", "missing") else None
    return tuple(part for n, part in enumerate(location) if n == last or isinstance(part, int) or not _ALTERNATIVE.match(part))


_ALTERNATIVE = re.compile(r"\[key\]|literal\[|list\[|tuple\[|constrained-|(str|int|float|bool)$|[A-Z]")


def _sentence(place: tuple[str | int, ...], errors: Sequence[Any], under: tuple[str, ...], model: type[BaseModel]) -> str:
    """`errors` are those of one place, one for each alternative."""
    path = ".".join(str(part) for part in under + place)
    error = errors[0]
    if error["type"] == "extra_forbidden":
        known = _keys_at(model, place[:-1])
        near = catalog.nearest(str(place[-1]), known)
        return f"{path}: unknown key{near}; allowed here: {', '.join(known)}"
    if error["type"] == "missing":
        return f"{path}: is missing; add it"
    first, *others = (one["msg"] for one in errors)
    expected = " or ".join([f"{first[0].lower()}{first[1:]}", *(other.removeprefix("Input should be ") for other in others)])
    return f"{path}: is {error['input']!r}; {expected}"


def _keys_at(model: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
    """The keys allowed at a place of the model: fields of the section that the path leads to."""
    section = model
    for part in place:
        if part in section.model_fields:
            section = next(iter(_sections_in(section.model_fields[str(part)].annotation)), section)
    return list(section.model_fields)


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a type speaks of: itself, what a list or a dict of it holds, any of its alternatives."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inside in get_args(annotation):
        yield from _sections_in(inside)
