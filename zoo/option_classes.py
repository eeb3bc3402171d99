"""Option classes: frozen dataclasses whose values are checked when they are constructed.

Each option has its default and its description in one place, the class. The command line, Python
and `--help` read them from there. The arguments of functions are checked in the same way.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo

from zoo.errors import InputError
from zoo.messages import Message, _

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Size = Annotated[int, Field(ge=1, le=65_536)]  # of a vector; a matrix of it fits in 17 GB
Steps = Annotated[int, Field(ge=1, le=10_000_000)]  # of a batch or a text
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]

# Earlier names of settings -> present names, for error messages.
EARLIER_NAMES = {
    "search": "generation",
    "search.beam": "generation.beam_size",
    "generation.beam": "generation.beam_size",
    "train.average": "train.ema_decay",
    "train.clip": "train.grad_clip",
    "train.share": "train.fraction",
    "train.vectors": "train.init_embeddings",
}

FORBID = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
OPTIONS = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


Class = TypeVar("Class")


@typing.dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, Field))
def checked_dataclass(cls: type[Class]) -> type[Class]:
    """Make a frozen dataclass whose values are checked when an object is constructed.

    A field's type gives its range; the docstring behind a field is its description. A nested option
    class also takes a dict. A wrong value raises InputError, `generation.stop=END: Input should be
    a valid tuple`; the class attribute `section` is the first part of that place.

    >>> @checked_dataclass
    ... class Cup:
    ...     size: Count = 2
    ...     '''Sugar cubes that fit in.'''
    >>> Cup(size=3)
    Cup(size=3)
    >>> Cup(size=0)
    Traceback (most recent call last):
    zoo.errors.InputError: Cup.size=0: Input should be greater than or equal to 1
    """
    checked: Any = pydantic_dataclass(frozen=True, config=OPTIONS)(cls)
    construct = checked.__init__

    @functools.wraps(construct)
    def __init__(self: Any, /, *values: Any, **named: Any) -> None:
        try:
            construct(self, *values, **named)
        except ValidationError as error:
            raise InputError(_option_error(checked, error)) from None

    checked.__init__ = __init__
    return checked


def _option_error(cls: type, error: ValidationError) -> str:
    """The first error of an option class in one line: its place, and what is wrong."""
    first = error.errors(include_url=False)[0]
    place = [*map(str, first["loc"])]
    owner = cls
    while place and (inner := _option_class(owner, place[0])) is not None:
        owner = inner  # of a nested class, its own section is the place
        del place[0]
    section = getattr(owner, "section", owner.__name__)
    where = ".".join([section, *place])
    if first["type"] == "unexpected_keyword_argument":
        return unknown(where, {f"{section}.{name}" for name in option_names(owner)})
    if first["type"] == "missing":
        return _("{place} is missing: add {place}=…", place=where)
    message = _message(first)
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
    values = {"where": where, "value": first["input"], "message": message}
    return Message("{where}={value}: {message}" if place else "{where}: {message}", values)


def _option_class(cls: type, name: str) -> type | None:
    """The option class that is the type of a field, or None."""
    field = getattr(cls, "__pydantic_fields__", {}).get(name)
    kind = None if field is None else field.annotation
    return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def option_names(cls: type) -> list[str]:
    """Return the names of the fields of an option class.

    >>> from zoo.config import TokenizerConfig
    >>> option_names(TokenizerConfig)[:3]
    ['kind', 'size', 'min_count']
    """
    return [field.name for field in dataclasses.fields(cls)]


@dataclasses.dataclass(frozen=True)
class Option:
    """One setting of an option class: its name, default and description.

    >>> Option("size", 2, "Sugar cubes that fit in.", "int from 1").default
    2
    """

    name: str
    default: Any
    description: str
    type: str
    """The values that it takes, in words: `int from 1`."""


def options(cls: type) -> list[Option]:
    """Return the fields of an option class, or of `Settings`, in their order.

    >>> from zoo.config import TokenizerConfig
    >>> [each.type for each in options(TokenizerConfig) if each.name == "size"]
    ['int from 8 to 1,000,000']
    """
    infos = getattr(cls, "__pydantic_fields__", {})
    found = []
    for name, info in infos.items():
        default = info.get_default(call_default_factory=True)
        described = _description(cls, name, info)
        found.append(Option(name, default, described, _in_words(info.annotation, info.metadata)))
    return found


def _description(cls: type, name: str, info: FieldInfo) -> str:
    """The docstring of a field, of the class that declares it, in one line."""
    text = info.description
    for base in cls.__mro__[1:]:
        inherited = getattr(base, "__pydantic_fields__", {}).get(name)
        text = text or (inherited.description if inherited else None)
    return " ".join((text or "").split())


def _in_words(annotation: Any, limits: Collection[Any] = ()) -> str:
    """A type in words: `int from 1`, `none | balanced`."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        infos = [i for part in parts[1:] for i in getattr(part, "metadata", [part])]
        return _in_words(parts[0], infos)
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_in_words(part) for part in parts)
    if origin in (tuple, list):
        return f"list of {_in_words(parts[0])}"
    name = "null" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    bounds = [
        f"{word} {_bound(getattr(limit, key))}"
        for limit in limits
        for key, word in words.items()
        if getattr(limit, key, None) is not None
    ]
    return " ".join([name, *bounds])


def _bound(value: float) -> str:
    """A bound as it is read: large whole numbers with commas."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def as_text(value: Any) -> str:
    """Return a value as it is written on the command line and in YAML.

    >>> as_text(1e-4), as_text("mean"), as_text("no"), as_text(("a", 2)), as_text(None)
    ('1.0e-4', 'mean', '"no"', '["a", 2]', 'null')
    """
    if isinstance(value, float) and value == value and 0 < abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:e}".partition("e")
        return f"{float(mantissa)}e{int(exponent)}"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w+./-]*", value):
        words = ("null", "true", "false", "yes", "no", "on", "off")
        return value if value.lower() not in words else json.dumps(value)
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value, ensure_ascii=False)


def unknown(name: str, known: Collection[str]) -> str:
    """Return the message for a setting that does not exist, with the most similar one of `known`.

    >>> str(unknown("train.epoch", ["train.epochs", "train.patience"]))
    'train.epoch: no such setting; did you mean train.epochs?'
    """
    renamed = _renamed(name)
    cure = _meant(renamed) if renamed else did_you_mean(name, known)
    cure = cure or _("; see --help and --cfg")
    return _("{name}: no such setting{cure}", name=name, cure=cure)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean NAME?" with the most similar name of `known`, "" if none is similar.

    >>> str(did_you_mean("atention", ["attention", "mean"])), did_you_mean("x", ["mean"])
    ('; did you mean attention?', '')
    """
    near = difflib.get_close_matches(name, [*known], 1)
    return _meant(near[0]) if near else ""


def _meant(name: str) -> str:
    return _("; did you mean {name}?", name=name)


def _renamed(name: str) -> str | None:
    """The present name of a setting, given its earlier name; None for other names."""
    if name in EARLIER_NAMES:
        return EARLIER_NAMES[name]
    section, dot, rest = name.partition(".")
    return f"{EARLIER_NAMES[section]}.{rest}" if dot and section in EARLIER_NAMES else None


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their names on the command line.

    >>> flat({"train": {"epochs": 3}, "seed": 1})
    {'train.epochs': 3, 'seed': 1}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found


def arguments(
    function: Callable[..., Any], values: dict[str, Any], where: str, given: Collection[str] = ()
) -> dict[str, Any]:
    """Check `values` against the annotations of `function`; return its keyword arguments.

    `given` are parameters that the caller passes itself. `where` is the section in the message
    of the InputError.

    >>> def read(path: str, rows: Count = 10): ...
    >>> arguments(read, {"rows": "3"}, "data", {"path"})
    {'rows': 3}
    >>> arguments(read, {"rows": 0}, "data", {"path"})
    Traceback (most recent call last):
    zoo.errors.InputError: data.rows=0: Input should be greater than or equal to 1
    """
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in given and parameter.kind is not parameter.VAR_KEYWORD:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (hints.get(name, Any), default)
    model = create_model("Arguments", __config__=FORBID, **fields)
    checked = validated(model, values, f"{where}.")
    return {name: getattr(checked, name) for name in fields}


Model = TypeVar("Model", bound=BaseModel)


def validated(
    model: type[Model], values: dict[str, Any], where: str, known: Collection[str] = ()
) -> Model:
    """Check values by a pydantic model. Raises InputError that names the first wrong one.

    `where` stands before its name. `known` are all settings, for a misspelt one.

    >>> class Cup(BaseModel):
    ...     size: Count = 2
    >>> validated(Cup, {"size": 3}, "cup.")
    Cup(size=3)
    >>> validated(Cup, {"size": 0}, "cup.")
    Traceback (most recent call last):
    zoo.errors.InputError: cup.size=0: Input should be greater than or equal to 1
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = where + ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise InputError(_("{place} is missing: add {place}=…", place=place)) from None
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            if known and isinstance(first["input"], dict):
                place = next(iter(flat({place: first["input"]})))
            if known:
                raise InputError(unknown(place, known)) from None
            own = ", ".join(model.model_fields)
            raise InputError(f"{place}: no such setting; there are: {own}") from None
        values = {"place": place, "value": first["input"], "message": _message(first)}
        raise InputError(Message("{place}={value}: {message}", values)) from None


def _message(error: Any) -> str:
    """What pydantic says of a wrong value; of a misspelt choice, also the most similar one."""
    known = _known(error["type"], error.get("ctx", {}))
    said = known if known == error["msg"] else error["msg"]
    if error["type"] != "literal_error":
        return said
    choices = re.findall("'([^']*)'", error["ctx"]["expected"])
    near = did_you_mean(str(error["input"]), choices)
    return Message("{said}{near}", {"said": said, "near": near})


def _known(kind: str, context: Mapping[str, Any]) -> str:
    """Return what pydantic says of the commonest mistakes, as messages; "" for others."""
    if kind == "int_parsing":
        return _("Input should be a valid integer, unable to parse string as an integer")
    if kind == "int_from_float":
        return _("Input should be a valid integer, got a number with a fractional part")
    if kind == "finite_number":
        return _("Input should be a finite number")
    if kind == "float_parsing":
        return _("Input should be a valid number, unable to parse string as a number")
    if kind == "bool_parsing":
        return _("Input should be a valid boolean, unable to interpret input")
    if kind == "greater_than":
        return _("Input should be greater than {limit}", limit=_whole(context["gt"]))
    if kind == "greater_than_equal":
        return _("Input should be greater than or equal to {limit}", limit=_whole(context["ge"]))
    if kind == "less_than":
        return _("Input should be less than {limit}", limit=_whole(context["lt"]))
    if kind == "less_than_equal":
        return _("Input should be less than or equal to {limit}", limit=_whole(context["le"]))
    if kind == "literal_error":
        expected = context["expected"].rpartition(" or ")
        first = _("Input should be {last}", last=expected[2])
        if not expected[0]:
            return first
        return _("Input should be {others} or {last}", others=expected[0], last=expected[2])
    return ""


def _whole(limit: float) -> float:
    """Return a limit as pydantic writes it: a whole number without its point."""
    return int(limit) if limit == int(limit) else limit
