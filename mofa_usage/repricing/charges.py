"""The rules of `pricing.rates` as SQL, in layers: each adds columns to the calls, made of those of the layers below.

| layer | columns | |
|---|---|---|
| known | `prompt`, `completion`, ... | counts that are known, and what a call says of its kind and moment |
| counts | `cached`, `written`, ... | the details, 0 where nothing is said |
| tokens | `n KIND` | by kinds that do not overlap |
| answer | `r KIND`, ... | what the book says, joined |
| amounts | `a PART` | whole numbers of 10**-scale millionths; null where tokens are not known |
| money | `u PART`, `u total` | in units of 10**-10: the total rounded half to even, its parts rounded down |

Divisions of 128 bits take thirty times as long as those of 64. So most calls are reckoned in 64 bits, and only those
that need it in 128: of more than `_MOST_TOKENS`, or with rates of many digits.

Rates and kinds of tokens that no call can have are left out: kinds of which the calls have no column, rates that no
answer has. They would be looked up and added to each call all the same.

Every name is ours (`price: ...`), whatever the columns of the calls are called. DuckDB computes what is asked for, and
reads the columns of the calls that this needs.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from mofa_usage.pricing import NO_GEOGRAPHY, TOO_MUCH
from mofa_usage.pricing.rates import PARTS
from mofa_usage.reading.columns import LABEL, quoted
from mofa_usage.repricing.quoting import ANSWER, DAY, GUESSABLE, RATES, UNSAID, Answers
from mofa_usage.values import COMPLETION_UNKNOWN, PROMPT_UNKNOWN

__all__ = ["charged", "own", "rounded", "rounded_down"]

_OF_PROMPT = {
    "input": ("input", "input_audio"),
    "cached": ("cached", "cached_audio"),
    "cache_write": ("cache_write", "cache_write_1h"),
}
_OF_COMPLETION = {"output": ("output", "output_audio", "reasoning")}
_KINDS_OF = _OF_PROMPT | _OF_COMPLETION
_MONEY = "DECIMAL(38,10)"
_MOST_UNITS = TOO_MUCH * 10**10
_UNIT_PLACES = 4  # of millionths: ten of money
_BEYOND = 10**15  # so many tokens are a mistake, and have no price
_MOST_TOKENS = 10**9
_SURE = 10**22  # below so high a rate, as a whole number, no amount has more than 128 bits


def charged(calls: str, has: Collection[str], kind: Mapping[str, str], answers: Answers) -> str:
    """SQL of the calls with what they cost: the columns that `parts.with_parts` describes, named by `own`, and others.

    Args:
        calls: SQL of the calls.
        has: their columns.
        kind: the columns of `KIND` as SQL.
        answers: what the price book says of them.
    """
    sql, parts = calls, _kinds_of(has, answers)
    kinds = [kind for kinds in parts.values() for kind in kinds]
    for columns in ({**kind, **dict(_known(has))}, _counts(has), _cached_audio(), _tokens(kinds)):
        sql = f"SELECT *, {_listed(columns)} FROM ({sql})"  # noqa: S608 (names are quoted)
    sql = _answered(sql, kind, answers)
    for columns in (_told_apart(kinds), _ways(kinds, answers)):
        sql = f"SELECT *, {_listed(columns)} FROM ({sql})"  # noqa: S608
    for number, columns in enumerate((_amounts(parts), _units(parts, answers), _told(kinds))):
        # DuckDB would put each column into all expressions that it is in, and reckon it there again and again, if there
        # was nothing in between.
        sql = f"SELECT *, {_listed(columns)} FROM ({sql}) CROSS JOIN (SELECT 1 AS {own(f'one {number}')})"  # noqa: S608
    return f"SELECT * FROM ({sql}) CROSS JOIN (SELECT 1 AS {own('one')})"  # noqa: S608


def _kinds_of(has: Collection[str], answers: Answers) -> Mapping[str, Sequence[str]]:
    """The kinds of tokens of each part that there can be; the first of each part counts what is of no other."""
    beside = {
        **dict.fromkeys(("input_audio", "cached_audio"), "prompt_audio_tokens" in has),
        "cache_write_1h": "cache_write_1h_tokens" in has,
        "output_audio": "completion_audio_tokens" in has,
        "reasoning": "reasoning_tokens" in has and answers.tells_reasoning,
    }
    return {part: [kind for kind in kinds if beside.get(kind, True)] for part, kinds in _KINDS_OF.items()}


def _listed(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{value} AS {own(name)}" for name, value in columns.items())


def own(name: str) -> str:
    """A column of ours beside those of the calls, as SQL."""
    return quoted(f"price: {name}")


def _known(has: Collection[str]) -> Iterator[tuple[str, str]]:
    source = "coalesce(token_source, '')" if "token_source" in has else "''"
    for name, unknown in (("prompt", PROMPT_UNKNOWN), ("completion", COMPLETION_UNKNOWN)):
        yield name, f"CASE WHEN {source} NOT IN {unknown} AND {name}_tokens < {_BEYOND} THEN {name}_tokens END"
    yield "is counted", f"{source} IN ('', 'provider')"
    if "create_time" in has:
        # A clock that knows zones takes ten times as long.
        yield "moment", "epoch_us(create_time)"
        yield "time", f"((epoch_us(create_time) % {DAY} + {DAY}) % {DAY})"


def _answered(calls: str, kind: Mapping[str, str], answers: Answers) -> str:
    """The calls, each with the answer for it."""
    conditions = [
        f"p.{name} IS NULL" if sql == UNSAID else f"{own(name)} IS NOT DISTINCT FROM p.{name}"
        for name, sql in kind.items()
    ]
    if answers.by_day:
        conditions.append(f"{own('moment')} >= p.first AND {own('moment')} < p.after_last")
    if answers.by_time:
        conditions.append(f"{own('time')} >= p.from_time AND {own('time')} < p.to_time")
    if answers.by_size:
        size = f"coalesce({own('prompt')}, 0)"
        conditions.append(f"{size} > p.above AND {size} <= p.upto")
    answer = ", ".join(f"p.{name} AS {own(f'r {name}')}" for name in ANSWER)
    ends = (
        f"from_day::BIGINT * {DAY} AS first, (to_day + 1)::BIGINT * {DAY} AS after_last"  # nothing is divided by call
    )
    of_kinds = f"SELECT *, {ends} FROM {answers.periods} JOIN {answers.answers} USING (answer)"  # noqa: S608
    return f"SELECT c.*, {answer} FROM ({calls}) AS c LEFT JOIN ({of_kinds}) AS p ON {' AND '.join(conditions)}"  # noqa: S608


def _counts(has: Collection[str]) -> dict[str, str]:
    def count(name: str) -> str:
        return f"least(coalesce({name}, 0), {_BEYOND})" if name in has else "CAST(0 AS BIGINT)"

    def said(whole: str, count: str) -> str:
        return f"CASE WHEN {own(whole)} IS NOT NULL THEN {count} END"

    lifetimes = f"{count('cache_write_5m_tokens')} + {count('cache_write_1h_tokens')}"
    searches, place = quoted(f"{LABEL}web_search_requests"), quoted(f"{LABEL}inference_geo")
    is_count = f"regexp_full_match({searches}, '[0-9]{{1,9}}')"
    anywhere = ", ".join(f"'{name}'" for name in sorted(NO_GEOGRAPHY))
    return {
        "cached": said("prompt", count("cached_tokens")),
        "written": said("prompt", f"greatest({count('cache_write_tokens')}, {lifetimes})"),
        "written 1h": said("prompt", count("cache_write_1h_tokens")),
        "audio": said("prompt", count("prompt_audio_tokens")),
        "reasoned": said("completion", count("reasoning_tokens")),
        "spoken": said("completion", count("completion_audio_tokens")),
        "searches": f"CASE WHEN {is_count} THEN CAST({searches} AS BIGINT) ELSE 0 END"
        if f"{LABEL}web_search_requests" in has
        else "CAST(0 AS BIGINT)",
        "is elsewhere": f"coalesce(lower({place}), '') NOT IN ({anywhere})"
        if f"{LABEL}inference_geo" in has
        else "false",
    }


def _cached_audio() -> dict[str, str]:
    """How much of the audio was cached. Nobody says: text first, as most prompts begin with it."""
    cached, audio = own("cached"), own("audio")
    text = f"greatest({own('prompt')} - {own('written')} - {audio}, 0)"
    seen = f"least({audio}, greatest({cached} - {text}, 0))"
    return {"seen": f"CASE WHEN {audio} > 0 AND {cached} > 0 THEN {seen} WHEN {audio} IS NOT NULL THEN 0 END"}


def _tokens(kinds: Collection[str]) -> dict[str, str]:
    def without(whole: str, *parts: tuple[str, str]) -> str:
        return " - ".join((own(whole), *(own(part) for kind, part in parts if kind in kinds)))

    cached = without("cached", ("cached_audio", "seen"))
    return {
        "n input": f"{without('prompt', ('cache_write', 'written'), ('input_audio', 'audio'))} - ({cached})",
        "n input_audio": f"{own('audio')} - {own('seen')}",
        "n cached": cached,
        "n cached_audio": own("seen"),
        "n cache_write": without("written", ("cache_write_1h", "written 1h")),
        "n cache_write_1h": own("written 1h"),
        "n output_audio": own("spoken"),
        "answered": without("completion", ("output_audio", "spoken")),
    }


def _told_apart(kinds: Collection[str]) -> dict[str, str]:
    """Reasoning may be in words or in sounds. Where it costs what the rest costs, it need not be told apart."""
    if "reasoning" not in kinds:
        return {"n output": own("answered")}
    reasoned = f"CASE WHEN {own('r reasoning_has_own')} THEN {own('reasoned')} ELSE {own('completion')} * 0 END"
    return {"n reasoning": reasoned, "n output": f"{own('answered')} - ({reasoned})"}


def _ways(kinds: Collection[str], answers: Answers) -> dict[str, str]:
    """Whether a call can be reckoned, and how."""
    conditions = [
        f"{own('r answer')} IS NOT NULL AND coalesce({own('prompt')}, {own('completion')}) IS NOT NULL",
        f"least({', '.join(own(f'n {kind}') for kind in kinds)}) >= 0",
    ]
    if answers.lacks_rates:
        rated = " AND ".join(f"(coalesce({own(f'n {kind}')}, 0) = 0 OR {own(f'r {kind}_is_priced')})" for kind in kinds)
        conditions.append(f"CASE WHEN {own('r lacks_rates')} THEN {rated} ELSE true END")
    is_small = f"greatest({own('prompt')}, {own('completion')}) <= {_MOST_TOKENS}"
    is_short = is_small if answers.are_short else f"{own('r is_short')} AND {is_small}"
    return {"can be": " AND ".join(conditions), "is short": is_short}


def _amounts(parts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What the parts cost of the calls that are reckoned in 64 bits, null for others."""
    is_short = f"{own('can be')} AND {own('is short')}"
    costs = _costs(parts, lambda kind: own(f"r {kind}"))
    amounts = {**costs, "total": _sum(costs)}
    return {f"a {name}": f"CASE WHEN {is_short} THEN {amount} END" for name, amount in amounts.items()}


def _costs(parts: Mapping[str, Sequence[str]], rate: Callable[[str], str]) -> dict[str, str]:
    """What the parts of a call cost, as whole numbers at these rates."""
    found = {part: " + ".join(f"{own(f'n {kind}')} * {rate(kind)}" for kind in kinds) for part, kinds in parts.items()}
    # Few models charge for a request; what a search costs not every list says, which leaves the rest its price.
    found["other"] = f"{own('searches')} * {rate('web_search')} + {rate('request')}"
    return {part: found[part] for part in PARTS}


def _units(parts: Mapping[str, Sequence[str]], answers: Answers) -> dict[str, str]:
    """The amounts in units of money; of calls that need it, they are reckoned here in 128 bits."""

    def rate(kind: str) -> str:
        return f"CAST({own(f'r {kind}')} AS HUGEINT)" if answers.are_short else own(f"r long_{kind}")

    # At so high a rate the tokens may cost more than 128 bits hold, which is far more than a record does.
    guarded = "{}" if answers.highest <= _SURE else "TRY({})"
    is_long = f"{own('can be')} AND NOT {own('is short')}"
    short_divisor, divisor = (10 ** (scale - _UNIT_PLACES) for scale in (answers.short_scale, answers.scale))
    costs = {part: f"({cost})" for part, cost in _costs(parts, rate).items()}

    def either(short: str, long: str) -> str:
        return f"coalesce({short}, CASE WHEN {is_long} THEN TRY_CAST({guarded.format(long)} AS BIGINT) END)"

    units = {
        f"u {part}": either(rounded_down(own(f"a {part}"), short_divisor), rounded_down(costs[part], divisor))
        for part in PARTS
    }
    return {**units, "u total": either(rounded(own("a total"), short_divisor), rounded(f"({_sum(costs)})", divisor))}


def _sum(costs: Mapping[str, str]) -> str:
    """Of the parts that are known: those of a prompt are all known, or none is."""
    prompt, completion = (" + ".join(costs[part] for part in parts) for parts in (_OF_PROMPT, _OF_COMPLETION))
    return f"coalesce({prompt}, 0) + coalesce({completion}, 0) + {costs['other']}"


def rounded_down(amount: str, divisor: int) -> str:
    """An amount that is not negative, divided and rounded down, as SQL."""
    return amount if divisor == 1 else f"({amount} // {divisor})"


def rounded(amount: str, divisor: int) -> str:
    """The same rounded half to even."""
    if divisor == 1:
        return amount
    whole = f"({amount} // {divisor})"
    return f"({whole} + CAST(({amount} - {whole} * {divisor}) * 2 + {whole} % 2 > {divisor} AS INTEGER))"


def _left_over() -> dict[str, str]:
    """The parts in which what rounding left over is in the largest."""
    units = [own(f"u {part}") for part in PARTS]
    left = f"({own('u total')} - {' - '.join(f'coalesce({unit}, 0)' for unit in units)})"
    largest = f"greatest({', '.join(units)})"
    columns = {}
    for place, (part, unit) in enumerate(zip(PARTS, units, strict=True)):
        is_first = "".join(f" AND {other} IS DISTINCT FROM {unit}" for other in units[:place])
        columns[f"part_{part}"] = f"{unit} + {left} * CAST({unit} = {largest}{is_first} AS INTEGER)"
    return columns


def _told(kinds: Collection[str]) -> dict[str, str]:
    is_priced = f"{own('u total')} < {_MOST_UNITS}"
    money = {
        name: f"CAST(CASE WHEN {is_priced} THEN CAST({units} AS DECIMAL(18,0)) END * 0.0000000001 AS {_MONEY})"
        for name, units in {**_left_over(), "part_total": own("u total")}.items()
    }
    return {
        **money,
        "price_currency": f"CASE WHEN {is_priced} THEN {own('r currency')} END",
        "price_is_exact": f"CASE WHEN {is_priced} THEN {_is_exact(kinds)} END",
        **{f"rate_{name}": own(f"r rate_{name}") for name in RATES},
    }


def _is_exact(kinds: Collection[str]) -> str:
    """Whether every kind was charged at its own price, and no count was a guess."""
    conditions = [own("r is_exact"), own("is counted"), f"NOT {own('is elsewhere')}"]
    conditions += [f"{own(whole)} IS NOT NULL" for whole in ("prompt", "completion")]
    conditions += [f"({own(f'n {kind}')} = 0 OR {own(f'r {kind}_is_own')})" for kind in GUESSABLE if kind in kinds]
    conditions.append(f"({own('searches')} = 0 OR {own('r web_search_is_priced')})")
    if "input_audio" in kinds:
        is_guess = f"{own('n input_audio')} > 0 AND {own('cached')} > 0 AND {own('r audio_has_own')}"
        conditions.append(f"NOT ({is_guess})")
    return " AND ".join(conditions)
