"""How people and their programs spell a value: numbers, truth values, shapes, and nothing at all.

Form and length are checked before any conversion: "9" x 5,000 and 1e5000000 are text.
"""

from __future__ import annotations

import re
from collections.abc import Container

_WHOLE = re.compile(r"([+-]?[0-9]{1,12})(?:\.0{1,6})?", re.ASCII)
_THOUSANDS = re.compile(r"([+-]?[1-9][0-9]{0,2})\.000", re.ASCII)
_SECONDS = re.compile(
    r"([0-9]{1,6})(?:\.0{1,6}|,0{1,2})?[\s\u00a0\u202f]?(?:s|sec|seconds)?", re.ASCII | re.IGNORECASE
)
_TRUE = "true yes y 1 1.0 on checked ja wahr oui vrai si sí verdadero vero"
_FALSE = "false no n 0 0.0 off unchecked nein falsch non faux falso"
_FLAGS = dict.fromkeys(_TRUE.split(), True) | dict.fromkeys(_FALSE.split(), False)
"""Also as spreadsheets (German, French, Spanish, Italian), Airtable and pandas write them."""

_LINES = re.compile(r"([0-9]{3,4})(?:\.0{1,6})?\s?p?", re.ASCII)
_RATIO = re.compile("([0-9]{1,2}) ?[:x/\u00d7\uff1a] ?([0-9]{1,2})", re.ASCII)
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::00)?", re.ASCII)
_PART_OF_DAY = re.compile(r"0[.,]([0-9]{4,18})", re.ASCII)
_MINUTES_OF_DAY = 24 * 60
_MINUTES_APART = 0.001
"""How far a fraction of a day may be from a whole minute: ten digits and more of one are nearer."""

_FAILED = (
    r"#(?:N/A|N/D|NV|GETTING_DATA|DIV/0!|(?:REF|VALUE|NULL|NUM|SPILL|CALC|FIELD|BLOCKED|CONNECT|UNKNOWN|BUSY"
    r"|ERROR|EXTERNAL|PYTHON|BEZUG|WERT|ZAHL|VALEUR|NOMBRE|NUL|VALOR|RIF|VALORE)!|(?:NAME|NOM|NOME)\?"
    r"|¡(?:REF|VALOR|NUM|NULO|DIV/0)!|¿NOMBRE\?)|Err:[0-9]{3}|Loading(?:\.\.\.|…)"
)
"""What spreadsheets show for a formula that failed or did not finish, in the languages that translate it."""

_NOTHING = r"nan|-nan|none|null|nil|nat|<na>|n/a|#na|undefined|\(null\)|\(none\)|\(blank\)"
"""What pandas (its `STR_NA_VALUES`), databases and spreadsheets write for an empty cell."""

ODD_TEXT = rf"(?i:{_FAILED}|{_NOTHING})"
ODD_PROMPT = rf"(?i:{_FAILED}|{_NOTHING}|na)"
"""What no cell of text may consist of. A client may be called NA; a prompt may not."""

_IS_FAILED, _IS_ODD, _IS_ODD_PROMPT = (re.compile(each) for each in (f"(?i:{_FAILED})", ODD_TEXT, ODD_PROMPT))

_SPACE = "\t-\r\x1c- \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
BLANK = f"^[{_SPACE}{_INVISIBLE}]*$"
"""A cell that shows nothing: white space, and what Unicode says is not drawn (Default_Ignorable, U+2800)."""

_IS_BLANK = re.compile(BLANK)


def whole_number(text: str) -> int | None:
    """Read `7`, `-7`, `+7` or `7.0` (as spreadsheets and pandas write it); None for anything else.

    `1.000` is none: it may be a thousand.
    """
    match = _WHOLE.fullmatch(text)
    return int(match[1]) if match and not _THOUSANDS.fullmatch(text) else None


def two_numbers(text: str) -> str:
    """Say which two numbers `1.000` may mean; "" for a number that means one."""
    match = _THOUSANDS.fullmatch(text)
    return f"{text} may mean {match[1]}000 or {match[1]}: write it without the point" if match else ""


def whole_seconds(text: str) -> int | None:
    """Read `5`, `5.0`, `5,0`, `5s`, `5 s`, `5 sec` or `5 seconds`; None for anything else."""
    match = _SECONDS.fullmatch(text)
    return int(match[1]) if match else None


def flag(text: str) -> bool | None:
    """Read true/false, yes/no, 1/0 and other words for them, in any case; None for anything else."""
    return _FLAGS.get(text.lower())


def is_failed_formula(text: str) -> bool:
    """Whether a cell is what a spreadsheet shows for a formula that failed."""
    return text.startswith(("#", "E", "e", "L", "l")) and _IS_FAILED.fullmatch(text) is not None


def is_odd(text: str, *, prompt: bool) -> bool:
    """Whether a cell of text is a failed formula, or a program's word for an empty cell."""
    return (_IS_ODD_PROMPT if prompt else _IS_ODD).fullmatch(text) is not None


def is_blank(text: str) -> bool:
    """Whether a cell shows nothing: it is empty, or all of its characters are invisible."""
    return _IS_BLANK.fullmatch(text) is not None


def choice(text: str, allowed: Container[str]) -> str:
    """Return the allowed value that a cell names: in any case, `480` for `480p`, `16x9` or `16/9` for `16:9`.

    So does a time that a spreadsheet made of a ratio. A cell that names none is returned in lower case.
    """
    text = text.lower()
    for pattern, form in ((_LINES, "{}p"), (_RATIO, "{}:{}")):
        match = pattern.fullmatch(text)
        if match and (named := form.format(*match.groups())) in allowed:
            return named
    ratio = ratio_of_time(text)
    return ratio if ratio in allowed else text


def ratio_of_time(text: str) -> str:
    """Return the ratio that a spreadsheet may have made a time of, or "".

    `16:09` and `16:09:00` come of 16:9, and so does 0.672916666666667, the same time as a part of the day.
    """
    if match := _CLOCK.fullmatch(text):
        return f"{int(match[1])}:{int(match[2])}"
    if match := _PART_OF_DAY.fullmatch(text):
        minutes = float(f"0.{match[1]}") * _MINUTES_OF_DAY
        if abs(minutes - round(minutes)) < _MINUTES_APART:
            hour, minute = divmod(round(minutes), 60)
            return f"{hour}:{minute}"
    return ""
