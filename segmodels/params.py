"""The model of params.yaml. Unknown keys and bad values fail before any work, with the key's path and the nearest right key."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from segmodels import catalog
from segmodels.errors import ParamsError
from segmodels.samples import IGNORE_INDEX, MAX_CLASSES, SegmentationClass, default_color

# names become folders, DVC stage names and URLs: nothing that any of these reads as more than a name
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
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


class Recipe(BaseModel):
    """An augmentation: the recipe's file and, beside it, its options: `{recipe: light, noise: 0.1}`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    recipe: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Dataset(Section):
    format: str = "auto"


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
    seed: int = 0


class Training(Section):
    size_px: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]]  # height, width
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    early_stopping_patience: int | None = Field(default=None, ge=1)  # epochs without a better validation mIoU
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: int = 0


class Candidate(Section):
    architecture: str
    encoder: str
    weights: Literal["imagenet"] | None = None
    options: dict[str, Any] = {}
    loss: Component
    schedule: Component
    augmentation: Name
    training: dict[str, Any] = {}  # what differs from the common training


class Gate(Section):
    min_miou: float = Field(default=0.0, ge=0, le=1)
    min_gain: float = Field(default=0.0, ge=-1, le=1)


class Resources(Section):
    slots: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"


class Params(Section):
    project: Name
    dataset: Dataset = Dataset()
    classes: Literal["auto"] | Annotated[list[str | ClassEntry], Field(min_length=1, max_length=MAX_CLASSES)] = "auto"
    splits: Splits = Splits()
    augmentations: dict[Name, Recipe]
    candidates: dict[Name, Candidate] = Field(min_length=1)
    training: Training
    gate: Gate = Gate()
    resources: Resources = Resources()

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
            "augmentation": {"name": chosen.augmentation, **self.augmentation(chosen.augmentation).model_dump(mode="json")},
            "training": self.training_of(name).model_dump(mode="json"),
        }

    def training_of(self, name: str) -> Training:
        """The common training with what the candidate changes."""
        return Training.model_validate(self.training.model_dump() | self.candidate(name).training)

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
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # noqa: S506 a SafeLoader
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
        problems = [_explain(one) for one in error.errors()]
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
            catalog.check_options(folder, name, options)
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
        check(f"{where}.loss", "losses", candidate.loss.name, candidate.loss.options)
        check(f"{where}.schedule", "schedules", candidate.schedule.name, candidate.schedule.options)
        if candidate.augmentation not in params.augmentations:
            near = catalog.nearest(candidate.augmentation, params.augmentations)
            known = ", ".join(params.augmentations)
            problems.append(f"{where}.augmentation: there is no {candidate.augmentation!r}{near}; there are: {known}")
        if tuple(candidate.training.get("size_px", params.training.size_px)) != params.training.size_px:
            problems.append(
                f"{where}.training.size_px: is {candidate.training['size_px']}; all candidates share training.size_px"
            )
        try:
            params.training_of(key)
        except pydantic.ValidationError as error:
            problems += [_explain(one, under=("candidates", key, "training"), model=Training) for one in error.errors()]
    if params.splits.val + params.splits.test >= 1:
        problems.append(f"splits: val {params.splits.val} + test {params.splits.test} leave nothing to train on; lower them")
    classes = params.listed_classes() or []
    if any(c.value == IGNORE_INDEX and not c.ignore for c in classes):
        problems.append(f"classes: id {IGNORE_INDEX} is void; give the class another id or `ignore: true`")
    if len({c.name for c in classes}) < len(classes) or len({c.value for c in classes}) < len(classes):
        problems.append("classes: a name or an id stands twice")
    return problems


def _explain(error: Any, under: tuple[str, ...] = (), model: type[BaseModel] = Params) -> str:
    location = tuple(part for part in error["loc"] if part != "[key]")
    path = ".".join(str(part) for part in under + location)
    if error["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        near = catalog.nearest(str(location[-1]), known)
        return f"{path}: unknown key{near}; allowed here: {', '.join(known)}"
    if error["type"] == "missing":
        return f"{path}: is missing; add it"
    return f"{path}: is {error['input']!r}; {error['msg'][0].lower()}{error['msg'][1:]}"


def _keys_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys allowed at a place of the model: fields of the section that the path leads to."""
    here: Any = model
    for part in location:
        if isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields:
            here = here.model_fields[part].annotation
        elif get_origin(here) is dict:
            here = get_args(here)[1]
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []


class _UniqueKeys(yaml.SafeLoader):
    """YAML takes the last of two equal keys in silence; a candidate would vanish."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.YAMLError(f"key {key!r} stands twice at line {key_node.start_mark.line + 1}")
            seen.add(key)
        return super().construct_mapping(node, deep)
