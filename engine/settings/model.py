"""The whole configuration as one frozen, typed model; schema, variables, flags and reference come from it."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct, field

from engine.settings.values import Seconds, Secret, SecretUrl, Size

Mode = Literal["enforce", "shadow", "off"]
Names = tuple[str, ...]
Amount = Annotated[float, Meta(ge=0)]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping of the configuration file. `shorthand` names the field that a bare string stands for."""

    shorthand: ClassVar[str] = ""
    preset_for: ClassVar[str] = ""
    """The required field that is given by a preset too: by the field `preset`, or by the mapping's own name."""


class Tls(Section, frozen=True, kw_only=True):
    """A certificate, so that the endpoint speaks https."""

    cert: Annotated[str, Meta(description="PEM file of the certificate, with those that lead to its authority.")]
    key: Annotated[str, Meta(description="PEM file of its private key, readable by the server alone.")]
    key_password: Annotated[Secret | None, Meta(description="Password of the private key, where it has one.")] = None


class Server(Section, frozen=True, kw_only=True):
    """Where and how the endpoint listens."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 8000
    mode: Annotated[
        Literal["personal", "team"], Meta(description="personal: loopback only, no keys; team: every caller has a key.")
    ] = "personal"
    workers: Annotated[int, Meta(ge=1, le=256, description="Processes; more than one needs shared state.")] = 1
    trusted_proxies: Annotated[
        Names, Meta(description="Addresses or networks whose X-Forwarded-For is believed; empty: nobody's.")
    ] = ()
    open: Annotated[
        tuple[Literal["healthz", "readyz", "metrics", "status"], ...],
        Meta(description="Pages that team mode shows to anybody, by name; all others want a key."),
    ] = ()
    tls: Annotated[Tls | None, Meta(description="Speak https with this certificate; unset: plain http.")] = None
    max_body: Annotated[Size, Meta(description="Largest request body; a larger one is answered 413.")] = Size(
        32_000_000
    )
    max_header: Annotated[
        Size, Meta(description="Largest head of a request, its first line included; a larger one is answered 431.")
    ] = Size(65_536)
    header_timeout: Annotated[
        Seconds, Meta(description="Longest time from a connection, or a request's first byte, to the end of its head.")
    ] = Seconds(15)
    keep_alive: Annotated[Seconds, Meta(description="How long a connection between two requests is kept.")] = Seconds(
        75
    )
    write_timeout: Annotated[
        Seconds, Meta(description="How long a client may stop reading its answer before it is given up.")
    ] = Seconds(60)
    max_connections: Annotated[
        int, Meta(ge=1, description="Connections of one process at one time; more are closed at once.")
    ] = 10_000
    body_timeout: Annotated[Seconds, Meta(description="Longest time that a client may take to send its body.")] = (
        Seconds(60)
    )
    drain: Annotated[
        Seconds, Meta(description="How long a server that stops lets exchanges in flight go on.")
    ] = Seconds(30)  # fmt: skip


class Scope(Section, frozen=True, kw_only=True):
    """For whom something holds: every key that is given must match, any element of a list is enough; globs are allowed."""

    caller: Annotated[Names, Meta(description="Ids of callers.")] = ()
    team: Annotated[Names, Meta(description="Teams of callers.")] = ()
    role: Annotated[Names, Meta(description="Roles of callers.")] = ()
    agent: Annotated[Names, Meta(description="Agents, as their user agent names them.")] = ()
    key: Annotated[Names, Meta(description="Public ids of keys.")] = ()
    ip: Annotated[Names, Meta(description="Networks (CIDR) of clients.")] = ()


class Reach(Section, frozen=True, kw_only=True):
    """What callers may use. What is unset is not limited, an empty list allows nothing; of a key, its team and its roles
    each must allow it. Globs are allowed."""

    models: Annotated[Names | None, Meta(description="Models, as `model` or `backend:model`.")] = None
    routes: Annotated[Names | None, Meta(description="Named routes, the default route among them.")] = None
    tools: Annotated[Names | None, Meta(description="Tools that may be offered to a model.")] = None
    protocols: Annotated[Names | None, Meta(description="Wire protocols, such as `openai-*` or `anthropic`.")] = None
    addresses: Annotated[Names | None, Meta(description="Networks (CIDR) that they may come from.")] = None


class Issuer(Section, frozen=True, kw_only=True):
    """Whose signed tokens (JWT) are believed, and what their claims say."""

    issuer: Annotated[str, Meta(min_length=1, description="The claim `iss`, letter by letter.")]
    audience: Annotated[Names, Meta(description="The claim `aud` must name one of these.")]
    algorithms: Annotated[
        tuple[
            Literal[
                "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
            ],
            ...,
        ],
        Meta(description="Signatures that are accepted; all of them by a public key."),
    ] = ("RS256", "ES256")
    jwks_url: Annotated[
        str, Meta(description="Where the issuer publishes its keys (JWKS), read again as they change.")
    ] = ""
    jwks_file: Annotated[str, Meta(description="A file with its keys (JWKS) instead; read at the start.")] = ""
    caller_claim: Annotated[str, Meta(description="The claim that names the caller.")] = "sub"
    team_claim: Annotated[str, Meta(description="The claim that names the team, `a.b` for one inside another.")] = ""
    roles_claim: Annotated[str, Meta(description="The claim that lists roles, `a.b` for one inside another.")] = ""
    teams: Annotated[dict[str, str], Meta(description="Team by value of the claim; empty: the value is the team.")] = (
        field(default_factory=dict)
    )
    roles: Annotated[
        dict[str, str],
        Meta(description="Role by value of the claim; empty: the value is the role, but never an admin role."),
    ] = field(default_factory=dict)
    leeway: Annotated[Seconds, Meta(description="How much its clock and ours may differ.")] = Seconds(30)


class StoreDown(Section, frozen=True, kw_only=True):
    """What becomes of callers while the store of keys cannot be asked."""

    shorthand: ClassVar[str] = "then"

    then: Annotated[Literal["refuse"], Meta(description="refuse: 503 once `serve_for` is over.")] = "refuse"
    serve_for: Annotated[Seconds, Meta(description="How long keys that were seen before are still served.")] = Seconds(
        0
    )


class Access(Section, frozen=True, kw_only=True):
    """Who may use the endpoint in team mode, beside the keys in the store."""

    issuers: Annotated[dict[str, Issuer], Meta(description="Issuers of signed tokens, by a name of your own.")] = field(
        default_factory=dict
    )
    store_down: Annotated[StoreDown, Meta(description="What becomes of callers while the store is down.")] = StoreDown()
    cached: Annotated[int, Meta(ge=1, description="Verified keys and tokens that a process remembers.")] = 10_000
    free_failures: Annotated[
        int, Meta(ge=1, description="Wrong keys of one address before it has to wait; each more doubles the wait.")
    ] = 10
    longest_wait: Annotated[Seconds, Meta(description="Longest wait of an address with wrong keys.")] = Seconds(300)


class PolicySource(Section, frozen=True, kw_only=True):
    """A folder or file of policies, and what its files are granted."""

    shorthand: ClassVar[str] = "path"

    path: Annotated[str, Meta(description="Folder or file, relative to the configuration file.")]
    scope: Annotated[Scope | None, Meta(description="ANDed with what every file of this source says.")] = None
    max_priority: Annotated[int | None, Meta(description="Highest priority that its rules may have.")] = None
    actions: Annotated[
        Names | None,
        Meta(description="Guarded actions that its rules may take; unset: all, or for a scoped source none."),
    ] = None
    plugins: Annotated[Names, Meta(description="Python plugins (`module:function`) that its rules may call.")] = ()


class Pack(Section, frozen=True, kw_only=True):
    """A shipped policy pack that is switched on."""

    mode: Annotated[Mode | None, Meta(description="Overrides the mode of the pack's rules; unset: the pack's own.")] = (
        None
    )
    scope: Annotated[Scope | None, Meta(description="For whom the pack holds; unset: everybody.")] = None
    sets: Annotated[dict[str, Names], Meta(description="Named lists of the pack, replaced by these.")] = field(
        default_factory=dict
    )
    messages: Annotated[dict[str, str], Meta(description="Messages of the pack's rules by rule id.")] = field(
        default_factory=dict
    )


CLIENT = "client"
"""The word that stands for the caller's own key in place of one."""


class Betas(Section, frozen=True, kw_only=True):
    """Which values of `anthropic-beta` and `openai-beta` reach a backend. The rest is left out of the header."""

    allow: Annotated[Names | None, Meta(description="Names or globs that pass; unset: all.")] = None
    drop: Annotated[Names, Meta(description="Names or globs that do not pass.")] = ()


class Capabilities(Section, frozen=True, kw_only=True):
    """What a backend can do beyond the base of its protocol, and what of it it refuses."""

    responses: Annotated[bool, Meta(description="Speaks the Responses API; else it is translated to chat.")] = False
    stream_usage: Annotated[bool, Meta(description="Accepts `stream_options.include_usage`.")] = True
    count_tokens: Annotated[bool, Meta(description="Counts tokens, where its protocol has a route for it.")] = True
    betas: Annotated[Betas, Meta(description="Values of beta headers that it takes.")] = Betas()
    refuses: Annotated[
        Names, Meta(description="Parameters of requests that it refuses, and that are left out: parallel_tool_calls.")
    ] = ()


class Price(Section, frozen=True, kw_only=True):
    """What a model costs, in US dollars per million tokens."""

    input: Annotated[Amount, Meta(description="Input that no cache served.")]
    output: Annotated[Amount, Meta(description="Output.")]
    cached: Annotated[Amount | None, Meta(description="Input read from a cache; unset: as input.")] = None
    cache_write: Annotated[Amount | None, Meta(description="Input written to a cache; unset: as input.")] = None
    reasoning: Annotated[Amount | None, Meta(description="Output of reasoning; unset: as output.")] = None


class Timeouts(Section, frozen=True, kw_only=True):
    """Bounds of one attempt, each a length of time."""

    connect: Annotated[Seconds, Meta(description="Waiting for a connection, its name and TLS included.")] = Seconds(10)
    write: Annotated[Seconds, Meta(description="Longest standstill while the request is sent.")] = Seconds(30)
    first_byte: Annotated[Seconds, Meta(description="From the sent request to the head of the answer.")] = Seconds(120)
    idle: Annotated[Seconds, Meta(description="Longest silence inside an answer.")] = Seconds(60)
    total: Annotated[Seconds, Meta(description="The whole attempt.")] = Seconds(900)


class Health(Section, frozen=True, kw_only=True):
    """A page that says whether a backend is well; while it does not, the backend is left out of routes."""

    shorthand: ClassVar[str] = "path"

    path: Annotated[
        str, Meta(min_length=1, description="Path at the server's root (`/health`), or without `/` below `base_url`.")
    ]
    every: Annotated[Seconds, Meta(description="How often it is asked.")] = Seconds(30)
    timeout: Annotated[Seconds, Meta(description="Longest time until it answers.")] = Seconds(5)
    failures: Annotated[
        int, Meta(ge=1, description="Failures in a row that take it out; one success brings it back.")
    ] = 2


class Backend(Section, frozen=True, kw_only=True):
    """A provider, or another server that speaks a provider's protocol."""

    preset_for: ClassVar[str] = "protocol"

    preset: Annotated[
        str,
        Meta(description="Provider whose known settings hold where nothing else is said; by default its own name's."),
    ] = ""
    protocol: Annotated[
        Literal["openai", "anthropic", "gemini", "sandbox"], Meta(description="The protocol that it speaks.")
    ]
    base_url: Annotated[
        str, Meta(description="http(s) URL in front of the protocol's paths, with `/v1` for openai.")
    ] = ""
    api_key: Annotated[
        tuple[Secret, ...],
        Meta(description="Key, or keys used in turn; `client` forwards the caller's own; unset: none is sent."),
    ] = ()
    forward_client_key: Annotated[
        bool, Meta(description="`api_key: client` in team mode too: every caller has a login of the provider's.")
    ] = False
    key_header: Annotated[
        str,
        Meta(description="Header that carries the key, `authorization` behind `Bearer`; unset: the protocol's own."),
    ] = ""
    headers: Annotated[dict[str, Secret], Meta(description="Headers added to every request.")] = field(
        default_factory=dict
    )
    query: Annotated[dict[str, str], Meta(description="Query added to every URL: api-version.")] = field(
        default_factory=dict
    )
    models: Annotated[Names, Meta(description="Names or globs of the models that it serves.")] = ()
    discover: Annotated[
        bool, Meta(description="Ask it which models it has; of them, those that fit `models`, or all, are served.")
    ] = False
    discover_every: Annotated[Seconds, Meta(description="How often it is asked again.")] = Seconds(3600)
    prefix: Annotated[
        str, Meta(description="What clients write in front of its models' names (`openrouter/`); it is not sent.")
    ] = ""
    provider: Annotated[
        str, Meta(description="Provider in the price list; unset: the one that `base_url` belongs to.")
    ] = ""
    prices: Annotated[
        dict[str, Price], Meta(description="Prices of its models by name or glob, before all other prices.")
    ] = field(default_factory=dict)
    capabilities: Annotated[Capabilities, Meta(description="What it can do beyond its protocol's base.")] = (
        Capabilities()
    )
    timeouts: Annotated[Timeouts, Meta(description="Bounds of one attempt.")] = Timeouts()
    health: Annotated[Health | None, Meta(description="Check whether it is well; unset: it is not checked.")] = None
    proxy: Annotated[SecretUrl | None, Meta(description="HTTP proxy to reach it through.")] = None
    verify: Annotated[bool, Meta(description="Check its TLS certificate.")] = True
    ca_file: Annotated[str, Meta(description="PEM file of the authorities to trust instead of the system's.")] = ""
    retry_stale: Annotated[
        bool, Meta(description="Send once more when a reused connection closed before a byte of the answer.")
    ] = True

    @property
    def forwards_client_key(self) -> bool:
        return any(key.reveal() == CLIENT for key in self.api_key)


class Commands(Section, frozen=True, kw_only=True):
    """Commands that stand in a chat message."""

    enabled: Annotated[bool, Meta(description="Whether in-chat commands are looked for.")] = True
    prefix: Annotated[str, Meta(min_length=1, description="What a command begins with.")] = "!/"


class Audit(Section, frozen=True, kw_only=True):
    """The log of decisions, chained by hashes."""

    path: Annotated[str, Meta(description="File to append to; empty: no audit log.")] = "var/audit.jsonl"
    content: Annotated[
        Literal["none", "hash", "redacted", "full"],
        Meta(description="What a record holds of the content it was about."),
    ] = "hash"
    when_full: Annotated[
        Literal["refuse", "drop"],
        Meta(description="When a record cannot be written: refuse exchanges, or go on without it."),
    ] = "refuse"
    key: Annotated[
        str,
        Meta(
            description="Ed25519 key (PEM) that signs heads of the log, made if there is none; empty: in team mode the "
            "path with .ed25519, in personal mode heads are not signed."
        ),
    ] = ""
    heads: Annotated[str, Meta(description="Second file for signed heads, best on another disk or machine.")] = ""
    heads_every: Annotated[int, Meta(ge=1, description="Records between two signed heads; a minute at most.")] = 1000
    rotate: Annotated[Size, Meta(description="Size of a file at which the next one begins; 0: none.")] = Size(
        256_000_000
    )
    rotate_every: Annotated[Seconds, Meta(description="Age of a file at which the next one begins; 0: none.")] = (
        Seconds(0)
    )
    keep: Annotated[int, Meta(ge=0, description="Full files of each process that are kept; 0: all.")] = 0
    keep_for: Annotated[Seconds, Meta(description="How long a full file is kept; 0: for ever.")] = Seconds(0)


class Record(Section, frozen=True, kw_only=True):
    """Recorded exchanges, for replay."""

    path: Annotated[str, Meta(description="Folder of the recordings.")] = "var/traffic"
    sample: Annotated[float, Meta(ge=0, le=1, description="Share of exchanges that is recorded; 0: none.")] = 0.0
    content: Annotated[
        Literal["redacted", "full", "hash"],
        Meta(description="What is kept of texts: without secrets and what rules redact, all, or keyed hashes of them."),
    ] = "redacted"
    max_bytes: Annotated[Size, Meta(description="Longest exchange that is recorded.")] = Size(1_000_000)
    rotate: Annotated[Size, Meta(description="Size of a file at which the next one begins.")] = Size(64_000_000)
    keep: Annotated[int, Meta(ge=1, description="Files that are kept; the oldest go.")] = 16


class Stream(Section, frozen=True, kw_only=True):
    """Streams to clients."""

    commit_after: Annotated[Seconds, Meta(description="Wait after which headers are sent.")] = Seconds(10)
    keep_alive: Annotated[Seconds, Meta(description="Time between keep-alives while nothing else is sent.")] = Seconds(
        15
    )


class Steer(Section, frozen=True, kw_only=True):
    """Asking the model again after a refused tool call."""

    max_per_exchange: Annotated[int, Meta(ge=0, le=100, description="Re-asks of one exchange over all rules.")] = 4
    ttl: Annotated[Seconds, Meta(description="How long a hidden turn is kept for its re-sent history.")] = Seconds(
        86_400
    )
    entries: Annotated[int, Meta(ge=1, description="Hidden turns kept at most.")] = 10_000


class Responses(Section, frozen=True, kw_only=True):
    """Answers of OpenAI Responses that a client goes on from by their id."""

    ttl: Annotated[Seconds, Meta(description="How long an id is known, and what is kept under it.")] = Seconds(86_400)
    entries: Annotated[int, Meta(ge=1, description="Ids of responses and of their items known at most.")] = 20_000


class Limits(Section, frozen=True, kw_only=True):
    """Bounds of what one process holds."""

    in_flight: Annotated[int, Meta(ge=1, description="Exchanges at one time; more are answered 503.")] = 1000
    sessions: Annotated[int, Meta(ge=1, description="Sessions remembered at most.")] = 100_000
    session_ttl: Annotated[Seconds, Meta(description="How long an idle session is remembered.")] = Seconds(86_400)
    tool_call: Annotated[Size, Meta(description="Largest tool call that is held for a decision.")] = Size(4_000_000)


class Outbound(Section, frozen=True, kw_only=True):
    """Calls that a policy may make: webhooks, guard services, judges."""

    allow: Annotated[
        Names, Meta(description="Hosts (with port) or networks that may be loopback, private, or plain http.")
    ] = ()
    timeout: Annotated[Seconds, Meta(description="Longest time of one call.")] = Seconds(5)
    max_bytes: Annotated[Size, Meta(description="Largest answer that is read.")] = Size(1_000_000)
    concurrency: Annotated[int, Meta(ge=1, description="Calls at one time.")] = 32


class Log(Section, frozen=True, kw_only=True):
    """What the process writes to standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least level that is written.")] = (
        "info"
    )
    format: Annotated[
        Literal["auto", "json", "console"], Meta(description="auto: console on a terminal, json elsewhere.")
    ] = "auto"


class Reload(Section, frozen=True, kw_only=True):
    """Reloading of policies while the server runs."""

    enabled: Annotated[bool, Meta(description="Watch the policies' files.")] = True
    debounce: Annotated[Seconds, Meta(description="Quiet time after a change before the set is read.")] = Seconds(0.1)
    last_good: Annotated[str, Meta(description="Folder of the last good set, for a start with a broken file.")] = (
        "var/last-good"
    )


class Upstream(Section, frozen=True, kw_only=True):
    """Pooled connections, for each origin."""

    max_connections: Annotated[int, Meta(ge=1, description="Connections at one time.")] = 512
    max_waiting: Annotated[int, Meta(ge=0, description="Attempts that wait for a connection.")] = 4096
    idle_expiry: Annotated[Seconds, Meta(description="How long an unused connection is kept.")] = Seconds(4.5)
    max_lifetime: Annotated[Seconds, Meta(description="How long a connection is used; bounds stale DNS.")] = Seconds(
        600
    )


class Resilience(Section, frozen=True, kw_only=True):
    """Attempts at an answer, and backends that fail."""

    max_attempts: Annotated[
        int, Meta(ge=1, le=100, description="Attempts of one exchange at most: legs, retries and waits; re-asks apart.")
    ] = 12
    breaker_failures: Annotated[
        int, Meta(ge=0, le=1000, description="Failures in a row that open the breaker of a backend's model; 0: never.")
    ] = 3
    breaker_open: Annotated[Seconds, Meta(description="How long it stays open before one attempt tries it.")] = Seconds(
        30
    )


SANDBOX = "sandbox"


class Settings(Section, frozen=True, kw_only=True):
    """The configuration of Lexgate."""

    server: Annotated[Server, Meta(description="Where and how the endpoint listens.")] = Server()
    teams: Annotated[dict[str, Reach], Meta(description="Teams, and what their callers may use.")] = field(
        default_factory=dict
    )
    roles: Annotated[dict[str, Reach], Meta(description="Roles, and what callers that have them may use.")] = field(
        default_factory=dict
    )
    access: Annotated[Access, Meta(description="Who may use the endpoint in team mode.")] = Access()
    policies: Annotated[
        tuple[PolicySource, ...], Meta(description="Where policies come from, and what each source is granted.")
    ] = ()
    packs: Annotated[dict[str, Pack], Meta(description="Shipped packs that are on, by name.")] = field(
        default_factory=dict
    )
    require: Annotated[
        Names, Meta(description="Policies that must be loaded and enforced before a set goes live.")
    ] = ()
    backends: Annotated[
        dict[str, Backend], Meta(description="Backends by name, in the order in which models are looked up.")
    ] = field(default_factory=dict)
    prices: Annotated[
        dict[str, Price], Meta(description="Prices of models by name or glob, before those of the price list.")
    ] = field(default_factory=dict)
    routes: Annotated[
        dict[str, str | dict[str, Any]], Meta(description="Named plans of backends and models, used as `@name`.")
    ] = field(default_factory=dict)
    default_route: Annotated[
        str, Meta(description="Route of requests that name no model, or one of default_models.")
    ] = ""
    default_models: Annotated[Names, Meta(description="Model names that mean the default route.")] = ("default", "auto")
    commands: Annotated[Commands, Meta(description="Commands in chat messages.")] = Commands()
    state: Annotated[
        SecretUrl,
        Meta(description="Store of counters and sessions: sqlite:///path, memory://, postgresql://… or redis://…"),
    ] = SecretUrl("sqlite:///var/lexgate.db")
    audit: Annotated[Audit, Meta(description="The log of decisions.")] = Audit()
    record: Annotated[Record, Meta(description="Recorded exchanges.")] = Record()
    stream: Annotated[Stream, Meta(description="Streams to clients.")] = Stream()
    responses: Annotated[
        Responses, Meta(description="Answers of OpenAI Responses that a client goes on from by their id.")
    ] = Responses()
    steer: Annotated[Steer, Meta(description="Asking the model again after a refused tool call.")] = Steer()
    limits: Annotated[Limits, Meta(description="Bounds of what one process holds.")] = Limits()
    outbound: Annotated[Outbound, Meta(description="Calls that a policy may make.")] = Outbound()
    shell_tools: Annotated[
        dict[str, str],
        Meta(description="More tools that carry a command: name or glob, and the argument that holds it."),
    ] = field(default_factory=dict)
    upstream: Annotated[Upstream, Meta(description="Pooled connections to backends.")] = Upstream()
    resilience: Annotated[Resilience, Meta(description="Attempts at an answer, and backends that fail.")] = Resilience()
    log: Annotated[Log, Meta(description="What the process writes to standard error.")] = Log()
    reload: Annotated[Reload, Meta(description="Reloading of policies.")] = Reload()
    base_dir: str = "."
    """Folder that relative paths start from: the configuration file's. Not a setting: the loader fills it in."""

    @property
    def served_backends(self) -> dict[str, Backend]:
        """The configured backends, or the built-in sandbox where there is none."""
        return self.backends or {SANDBOX: Backend(protocol="sandbox", models=("*",))}

    def resolve(self, path: str) -> Path:
        """Return a configured path, relative ones as seen from the configuration file."""
        return Path(self.base_dir) / Path(path).expanduser()
