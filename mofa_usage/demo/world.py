"""The world that the demo usage happens in: models, companies with their agents, rhythms and mishaps.

Models carry well-known names; their prices and speeds are illustrative and nobody's price list.
"""

from typing import NamedTuple

from mofa_usage.records import ApiCallStatus


class Model(NamedTuple):
    """Prices are USD per million tokens, with at most four decimals so that every call's price is exact."""

    provider: str
    prompt: str | None  # None: no price is known
    cached: str | None
    completion: str | None
    tokens_per_second: float
    first_token_ms: float
    reasoning: float = 0.0  # the typical share of the completion that is reasoning


MODELS = {
    "gpt-4.1": Model("openai", "2.00", "0.50", "8.00", 85, 520),
    "gpt-4.1-mini": Model("openai", "0.40", "0.10", "1.60", 120, 380),
    "o4-mini": Model("openai", "1.10", "0.275", "4.40", 110, 700, reasoning=0.65),
    "claude-sonnet-4": Model("anthropic", "3.00", "0.30", "15.00", 70, 900),
    "claude-haiku-3.5": Model("anthropic", "0.80", "0.08", "4.00", 105, 550),
    "gemini-2.5-pro": Model("google", "1.25", "0.3125", "10.00", 95, 1300, reasoning=0.4),
    "gemini-2.5-flash": Model("google", "0.30", "0.075", "2.50", 190, 420),
    "mistral-large": Model("mistral", "2.00", "2.00", "6.00", 65, 600),
    "deepseek-r1": Model("deepseek", "0.55", "0.14", "2.19", 75, 1500, reasoning=0.7),
    "llama-3.3-70b": Model("own-cluster", None, None, None, 45, 300),
}


class Bot(NamedTuple):
    """An agent: which models of one provider it uses and what its calls are like."""

    code: str
    name: str
    feature: str  # what of the product it serves
    models: tuple[str, ...]  # the first is the configured one, the others serve a tenth of the calls
    weight: float  # of its sessions among its company's
    turns: float  # calls of a session, on average
    prompt: int  # tokens of the first prompt, in the middle
    completion: int  # tokens of an answer, in the middle
    streamed: bool


class Company(NamedTuple):
    """A tenant."""

    name: str
    plan: str  # in the metadata of its sessions
    weight: float
    utc_offset: int  # hours
    users: int
    bots: tuple[Bot, ...]


COMPANIES = (
    Company(
        "acme",
        "enterprise",
        0.5,
        -5,
        180,
        (
            Bot("acme-support", "Support chat", "support", ("gpt-4.1-mini", "gpt-4.1"), 3.5, 5, 1400, 220, True),
            Bot("acme-review", "Code review", "review", ("claude-sonnet-4", "claude-haiku-3.5"), 2, 3, 6500, 650, True),
            Bot("acme-research", "Research", "research", ("o4-mini", "gpt-4.1"), 1.2, 3, 3200, 1400, True),
            Bot("acme-digest", "News digest", "digest", ("gemini-2.5-flash",), 3, 1, 9000, 350, False),
        ),
    ),
    Company(
        "globex",
        "business",
        0.3,
        1,
        110,
        (
            Bot("globex-contracts", "Contract analyst", "contracts", ("claude-sonnet-4",), 1, 3, 14000, 900, True),
            Bot("globex-translate", "Translator", "translation", ("mistral-large",), 3, 2, 900, 700, True),
            Bot("globex-helpdesk", "Helpdesk", "support", ("gpt-4.1-mini",), 3, 4, 1100, 180, True),
            Bot("globex-planner", "Planner", "planning", ("gpt-4.1", "o4-mini"), 1, 2, 2500, 500, False),
        ),
    ),
    Company(
        "initech",
        "trial",
        0.2,
        8,
        70,
        (
            Bot("initech-extract", "Data extraction", "extraction", ("llama-3.3-70b",), 3, 1, 3800, 300, False),
            Bot("initech-sql", "SQL copilot", "analytics", ("deepseek-r1",), 1.5, 4, 2100, 800, True),
            Bot(
                "initech-reports",
                "Report writer",
                "reports",
                ("gemini-2.5-pro", "gemini-2.5-flash"),
                1,
                2,
                7000,
                1600,
                True,
            ),
            Bot("initech-onboard", "Onboarding", "onboarding", ("claude-haiku-3.5",), 1.5, 4, 1800, 240, True),
        ),
    ),
)

# Users are called by a first and a last name, which tell everybody of a company apart.
FIRST_NAMES = ("ada", "ben", "cleo", "dan", "eva", "finn", "gita", "hugo", "ines", "jon", "kira", "leo", "mia", "noor")
LAST_NAMES = ("abel", "baker", "cruz", "diaz", "evans", "fox", "gray", "hall", "ito", "jones", "khan", "lee", "moss")
STAGING = 0.04  # the share of sessions in which somebody tries something out

# How busy an hour of the local day and a day of the week (from Monday) are, relative to each other.
HOURS = (3, 2, 1.5, 1, 1, 2, 5, 11, 22, 34, 38, 36, 26, 32, 38, 37, 33, 25, 15, 11, 10, 9, 7, 5)
WEEKDAYS = (1.0, 1.06, 1.08, 1.03, 0.86, 0.28, 0.22)
GROWTH = 0.8  # how much busier the end of the period is than its start

INCIDENT_PROVIDER = "openai"
INCIDENT_HOURS = 5
TIMEOUT_MS = 120_000


class Failure(NamedTuple):
    """How a call can go wrong."""

    status: ApiCallStatus
    code: str | None
    message: str


Outcomes = tuple[tuple[Failure | None, float], ...]
"""How calls end (None: well), and how often, relative to each other."""

TIMEOUT = Failure(ApiCallStatus.TIMEOUT, "timeout", "The request timed out after 120 s")
RATE_LIMITED = Failure(ApiCallStatus.RATE_LIMITED, "rate_limit_exceeded", "Rate limit reached, try again later")
CANCELLED = Failure(ApiCallStatus.CANCELLED, None, "The user closed the conversation")
SERVER_ERROR = Failure(ApiCallStatus.FAILED, "server_error", "The server had an error while processing the request")
TOO_LONG = Failure(ApiCallStatus.FAILED, "context_length_exceeded", "The prompt is longer than the model's context")
FILTERED = Failure(ApiCallStatus.FAILED, "content_filter", "The answer was withheld by the content filter")

USUAL: Outcomes = (
    (None, 0.976),
    (TIMEOUT, 0.004),
    (RATE_LIMITED, 0.006),
    (CANCELLED, 0.005),
    (SERVER_ERROR, 0.005),
    (TOO_LONG, 0.002),
    (FILTERED, 0.002),
)
IN_INCIDENT: Outcomes = ((None, 0.40), (TIMEOUT, 0.32), (RATE_LIMITED, 0.22), (SERVER_ERROR, 0.06))
