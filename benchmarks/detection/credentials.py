"""Secrets of 80 sorts, in the shapes that their makers publish; none was ever issued.

A template is literal text and, in braces, an alphabet and how many of it: `ghp_{w30}`. Only a
prefix stands in the source, so nothing here looks like a secret to who scans it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
import string
from collections.abc import Callable
from random import Random

from benchmarks.detection.digits import hexes, letters, raw, uuid

_BASE64 = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
_WORD = string.digits + string.ascii_uppercase + string.ascii_lowercase
ALPHABETS = {
    "n": string.digits,
    "h": "0123456789abcdef",
    "H": "0123456789ABCDEF",
    "a": string.ascii_lowercase,
    "A": string.ascii_uppercase,
    "l": string.ascii_letters,
    "c": string.ascii_lowercase + string.digits,
    "C": string.ascii_uppercase + string.digits,
    "w": _WORD,
    "u": _WORD + "_",
    "d": _WORD + "-_",
    "b": _BASE64,
    "5": string.ascii_uppercase + "234567",
    "x": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
}
_FIELD = re.compile(r"\{(.)(\d+)\}")

PREFIXED = {
    "AWS access key": "AK" + "IA{516}",
    "AWS temporary key": "AS" + "IA{516}",
    "GitLab token": "glpat-{d20}",
    "GitLab runner token": "glrt-{d20}",
    "GitLab deploy token": "gldt-{d20}",
    "Slack bot token": "xoxb-{n12}-{n13}-{w24}",
    "Slack user token": "xoxp-{n12}-{n12}-{n13}-{h32}",
    "Slack app token": "xapp-1-A{C10}-{n13}-{h64}",
    "Slack webhook": "hooks.slack.com/services/T{C10}/B{C10}/{w24}",
    "Stripe live key": "sk_live_{w24}",
    "Stripe long key": "sk_live_51{w97}",
    "Stripe restricted key": "rk_live_{w24}",
    "Stripe webhook secret": "whsec_{w32}",
    "Google API key": "AIza" + "Sy{d33}",
    "Google client secret": "GOCSPX-{d28}",
    "Google access token": "ya29.{d120}",
    "OpenAI project key": "sk-proj-{d74}T3BlbkFJ{d74}",
    "OpenAI key": "sk-{w20}T3BlbkFJ{w20}",
    "Anthropic key": "sk-ant-api03-{d93}AA",
    "Hugging Face token": "hf_{l34}",
    "PyPI token": "pypi-AgEIcHlwaS5vcmc{d150}",
    "SendGrid key": "SG.{d22}.{d43}",
    "Twilio key": "SK{h32}",
    "Mailgun key": "key-{h32}",
    "Mailchimp key": "{h32}-us{n1}",
    "DigitalOcean token": "dop_v1_{h64}",
    "DigitalOcean OAuth": "doo_v1_{h64}",
    "Shopify token": "shpat_{h32}",
    "Shopify shared secret": "shpss_{h32}",
    "Square token": "sq0atp-{d22}",
    "Square secret": "sq0csp-{d43}",
    "Telegram bot token": "{n9}:AA{d33}",
    "Discord webhook": "discord.com/api/webhooks/1{n18}/{d68}",
    "Azure AD secret": "{w3}8Q~{d34}",
    "Databricks token": "dapi{h32}",
    "Vault token": "hvs.{d95}",
    "Terraform token": "{w14}.atlasv1.{d67}",
    "Docker Hub token": "dckr_pat_{d27}",
    "Linear key": "lin_api_{w40}",
    "Notion token": "ntn_{n11}{w35}",
    "New Relic key": "NRAK-{C27}",
    "Grafana service token": "glsa_{w32}_{h8}",
    "PlanetScale token": "pscale_tkn_{d43}",
    "Postman key": "PMAK-{h24}-{h34}",
    "Doppler token": "dp.pt.{w43}",
    "Age key": "AGE-SECRET-KEY-1{x58}",
    "Groq key": "gsk_{w52}",
    "Replicate token": "r8_{w37}",
    "Perplexity key": "pplx-{w48}",
    "xAI key": "xai-{w80}",
    "Supabase token": "sbp_{h40}",
    "RubyGems key": "rubygems_{h48}",
    "Heroku key": "HRKU-AA{d58}",
    "Atlassian token": "ATATT3xFfGF0{d180}={H8}",
    "Figma token": "figd_{d40}",
    "Airtable token": "pat{w14}.{h64}",
    "Contentful token": "CFPAT-{d43}",
    "Dynatrace token": "dt0c01.{C24}.{C64}",
    "Pulumi token": "pul-{h40}",
    "Artifactory key": "AKCp{w69}",
    "Sentry user token": "sntryu_{h64}",
    "Asana token": "1/{n16}:{h32}",
    "Duffel token": "duffel_live_{d43}",
    "EasyPost key": "EZAK{w54}",
    "Flutterwave key": "FLWSECK-{h32}-X",
    "Frame.io token": "fio-u-{d64}",
    "Prefect key": "pnu_{c36}",
    "ReadMe key": "rdme_{c70}",
    "Scalingo token": "tk-us-{d48}",
    "Shippo token": "shippo_live_{h40}",
    "Clojars token": "CLOJARS_{c60}",
    "Adafruit key": "aio_{u28}",
    "Tailscale key": "tskey-auth-{w16}-{w32}",
}
"""Those that tell by themselves. Lengths and alphabets as the makers and secret scanners say."""


@dataclasses.dataclass(frozen=True, slots=True)
class Secret:
    sort: str
    key: str
    """A key or variable that it stands behind."""
    text: str
    before: str = ""
    """What belongs in front of it, as in a connection string."""
    behind: str = ""


def fill(rng: Random, template: str) -> str:
    return _FIELD.sub(lambda at: letters(rng, ALPHABETS[at[1]], int(at[2])), template)


def _base62(number: int, width: int) -> str:
    text = ""
    while number:
        number, place = divmod(number, 62)
        text = _WORD[place] + text
    return text.rjust(width, "0")


def _checked(sort: str, prefix: str) -> Callable[[Random], Secret]:
    """GitHub's and npm's: 30 characters and their CRC32 in base 62."""

    def make(rng: Random) -> Secret:
        body = letters(rng, _WORD, 30)
        return Secret(sort, "token", f"{prefix}{body}{_base62(binascii.crc32(body.encode()), 6)}")

    return make


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(rng: Random) -> str:
    head = {"alg": rng.choice(["HS256", "RS256", "ES256"]), "typ": "JWT"}
    if rng.random() < 0.5:
        head["kid"] = hexes(rng, 8)
    claims = {
        "sub": uuid(rng),
        "iss": "https://id.example.com/",
        "exp": rng.randrange(1767225600, 1830297600),
    }
    size = {"HS256": 32, "RS256": 256, "ES256": 64}[head["alg"]]
    parts = [json.dumps(each, separators=(",", ":")).encode() for each in (head, claims)]
    return ".".join(_url64(part) for part in [*parts, raw(rng, size)])


def pem(rng: Random) -> Secret:
    """The outer shape of a key in DER (a sequence that begins with version 0), not a key."""
    name, size = rng.choice(
        [
            ("RSA PRIVATE KEY", 1190),
            ("PRIVATE KEY", 1217),
            ("EC PRIVATE KEY", 121),
            ("OPENSSH PRIVATE KEY", 390),
            ("DSA PRIVATE KEY", 446),
            ("ENCRYPTED PRIVATE KEY", 1310),
        ]
    )
    if name.startswith("OPENSSH"):
        der = b"openssh-key-v1\0" + raw(rng, size)
    else:
        der = b"\x30\x82" + size.to_bytes(2, "big") + b"\x02\x01\x00" + raw(rng, size - 3)
    text = base64.b64encode(der).decode()
    body = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    dashes = "-" * 5
    return Secret(
        "PEM " + name.lower(),
        "private_key",
        body,
        f"{dashes}BEGIN {name}{dashes}\n",
        f"\n{dashes}END {name}{dashes}\n",
    )


def pgp(rng: Random) -> Secret:
    text = base64.b64encode(b"\x95" + raw(rng, 900)).decode()
    body = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    dashes, name = "-" * 5, "PGP PRIVATE KEY BLOCK"
    return Secret(
        "PGP private key",
        "pgp_key",
        body,
        f"{dashes}BEGIN {name}{dashes}\n\n",
        f"\n{dashes}END {name}{dashes}\n",
    )


def password(rng: Random) -> str:
    """What people and generators choose: words with digits and signs, or random characters."""
    words = ["river", "Copper", "falcon", "Winter", "orbit", "maple", "Quartz", "lantern", "tiger"]
    form = rng.randrange(4)
    if form == 0:
        return (
            f"{rng.choice(words)}{rng.choice('!#$*?')}{rng.randrange(10, 10000)}{rng.choice(words)}"
        )
    if form == 1:
        return letters(rng, _WORD + "!#$*+-.?_~", rng.randrange(14, 25))
    if form == 2:
        return "-".join(rng.choice(words) for _ in range(3)) + str(rng.randrange(10, 100))
    return letters(rng, _WORD, rng.randrange(16, 33))


def _cloudinary(rng: Random) -> Secret:
    secret = fill(rng, "{n15}:{d27}")
    return Secret("Cloudinary URL", "CLOUDINARY_URL", secret, "cloudinary://", fill(rng, "@{c9}"))


def _connection(rng: Random) -> Secret:
    scheme, port, name = rng.choice(
        [
            ("postgresql", 5432, "DATABASE_URL"),
            ("postgres", 5432, "PG_DSN"),
            ("mysql", 3306, "MYSQL_URL"),
            ("mongodb+srv", 0, "MONGO_URI"),
            ("redis", 6379, "REDIS_URL"),
            ("amqps", 5671, "AMQP_URL"),
        ]
    )
    user = rng.choice(["app", "root", "svc_orders", "reader"])
    secret = letters(rng, _WORD + "-_.~", rng.randrange(10, 25))
    host = rng.choice(["db", "db-1.internal", "10.0.3.7", "cluster0.example.net"])
    place = f":{port}" if port else ""
    return Secret(
        f"connection string, {scheme}", name, secret, f"{scheme}://{user}:", f"@{host}{place}/main"
    )


def _userinfo(rng: Random) -> Secret:
    secret = letters(rng, _WORD, 20)
    return Secret(
        "password in a URL", "remote", secret, "https://deploy:", "@git.example.com/app.git"
    )


def _storage(rng: Random) -> Secret:
    return Secret(
        "Azure storage key",
        "AZURE_STORAGE",
        base64.b64encode(raw(rng, 64)).decode(),
        f"DefaultEndpointsProtocol=https;AccountName={fill(rng, '{c12}')};AccountKey=",
        ";EndpointSuffix=core.windows.net",
    )


def _signature(rng: Random) -> Secret:
    text = base64.b64encode(raw(rng, 32)).decode()
    for sign, code in (("+", "%2B"), ("/", "%2F"), ("=", "%3D")):
        text = text.replace(sign, code)
    return Secret(
        "Azure SAS signature",
        "blob_url",
        text,
        f"https://{fill(rng, '{c10}')}.blob.core.windows.net/c/f.bin?sv=2024-11-04"
        "&se=2026-12-01T00%3A00%3A00Z&sr=b&sp=r&sig=",
    )


def _basic(rng: Random) -> Secret:
    text = base64.b64encode(f"svc-{fill(rng, '{a5}')}:{password(rng)}".encode()).decode()
    return Secret("Basic authorization", "Authorization", text, "Basic ")


def _bearer(rng: Random) -> Secret:
    return Secret("Bearer token", "Authorization", fill(rng, "{d43}"), "Bearer ")


def _behind(sort: str, key: str, template: str) -> Callable[[Random], Secret]:
    return lambda rng: Secret(sort, key, fill(rng, template))


def _passworded(rng: Random) -> Secret:
    key = rng.choice(["password", "passwd", "db_password", "smtpPassword", "PGPASSWORD", "secret"])
    return Secret("password behind its key", key, password(rng))


OTHERS: dict[str, Callable[[Random], Secret]] = {
    **{
        name: _checked(name, prefix)
        for name, prefix in {
            "GitHub token": "ghp_",
            "GitHub OAuth token": "gho_",
            "GitHub user token": "ghu_",
            "GitHub server token": "ghs_",
            "GitHub refresh token": "ghr_",
            "npm token": "npm_",
        }.items()
    },
    "GitHub fine-grained token": _behind(
        "GitHub fine-grained token", "token", "github_pat_{w22}_{w59}"
    ),
    "AWS secret key": _behind("AWS secret key", "aws_secret_access_key", "{b40}"),
    "Datadog key": _behind("Datadog key", "DD_API_KEY", "{h32}"),
    "Cloudflare token": _behind("Cloudflare token", "CLOUDFLARE_API_TOKEN", "{d40}"),
    "client secret": _behind("client secret", "client_secret", "{d40}"),
    "API key behind its key": _behind("API key behind its key", "api_key", "{w40}"),
    "access token behind its key": _behind("access token behind its key", "accessToken", "{d64}"),
    "hex key behind its key": _behind("hex key behind its key", "SECRET_KEY", "{h64}"),
    "Discord bot token": lambda rng: Secret(
        "Discord bot token",
        "bot_token",
        f"{_url64(str(rng.randrange(10**17, 10**18)).encode())}.{fill(rng, '{d6}.{d38}')}",
    ),
    "JWT": lambda rng: Secret("JWT", "id_token", jwt(rng)),
    "PEM": pem,
    "PGP": pgp,
    "Cloudinary URL": _cloudinary,
    "connection string": _connection,
    "password in a URL": _userinfo,
    "Azure storage key": _storage,
    "Azure SAS signature": _signature,
    "Basic authorization": _basic,
    "Bearer token": _bearer,
    "password behind its key": _passworded,
}

SORTS = (*PREFIXED, *OTHERS)


def secret(rng: Random, sort: str = "") -> Secret:
    """One of that sort, or of any."""
    sort = sort or SORTS[rng.randrange(len(SORTS))]
    if sort in OTHERS:
        return OTHERS[sort](rng)
    key = rng.choice(["token", "api_key", "credential", "value", "auth", "note"])
    return Secret(sort, key, fill(rng, PREFIXED[sort]))
