"""Which secrets are known: the shapes of tokens, and the words that call a value secret.

Prefixes, alphabets and lengths are those that issuers document, or that public scanners
(gitleaks, trufflehog, GitHub secret scanning; state of 2025) have gathered where they don't.
Those of Azure's keys are Microsoft's own (github.com/microsoft/security-utilities).
Names are stable: they may be added to, and none is ever used for something else.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

ALPHABETS: dict[str, str] = {
    "hex": "0-9a-f",
    "upper": "0-9A-Z",
    "alnum": "0-9A-Za-z",
    "under": "0-9A-Za-z_",
    "dash": "0-9A-Za-z-",
    "word": "0-9A-Za-z_-",
    "base64": "0-9A-Za-z+/",
    "path": "0-9A-Za-z/",
    "digit": "0-9",
    "lower": "0-9a-z",
    "hexes": "0-9a-f-",
    "entra": "0-9A-Za-z_~.-",
}
"""The characters of each alphabet, as a class of a regular expression has them."""

Part = str | tuple[str, int, int]
"""A text as it is; or an alphabet, and of how many characters, from and to."""


class Token(NamedTuple):
    """A secret that is known by how it looks."""

    name: str
    prefixes: tuple[str, ...]
    """What it begins with; or, with a head, what comes behind that."""
    parts: tuple[Part, ...]
    """What follows any of the prefixes, each part as long as it can be."""
    checked: bool = False
    """The last six characters are the CRC-32 of those between it and the prefix, in base 62."""
    head: tuple[tuple[str, int], ...] = ()
    """What stands before the prefix: alphabets, and of each how many characters."""


TOKENS: tuple[Token, ...] = (
    # Clouds and hosting.
    Token("aws_access_key", ("AKIA", "ASIA", "ABIA", "ACCA"), (("upper", 16, 16),)),
    Token("google_api_key", ("AIza",), (("word", 35, 35),)),
    Token("google_oauth_token", ("ya29.",), (("word", 20, 400),)),
    Token("google_oauth_secret", ("GOCSPX-",), (("word", 28, 28),)),
    Token("google_refresh_token", ("1//0",), (("word", 40, 120),)),
    Token("digitalocean_token", ("dop_v1_", "doo_v1_", "dor_v1_"), (("hex", 64, 64),)),
    Token("heroku_api_key", ("HRKU-AA",), (("word", 58, 58),)),
    Token("fly_token", ("fm2_", "fm1r_", "fm1a_"), (("base64", 100, 400),)),
    Token("fly_auth_token", ("fo1_",), (("word", 43, 43),)),
    Token("netlify_token", ("nfp_",), (("alnum", 36, 40),)),
    Token("supabase_token", ("sbp_",), (("hex", 40, 40),)),
    Token("planetscale_token", ("pscale_tkn_", "pscale_pw_", "pscale_oauth_"), (("word", 32, 64),)),
    Token("databricks_token", ("dapi",), (("hex", 32, 32),)),
    Token("terraform_token", ("tfe_",), (("alnum", 36, 64),)),
    Token("terraform_cloud_token", (".atlasv1.",), (("word", 60, 70),), head=(("alnum", 14),)),
    Token(
        "azure_client_secret",
        ("Q~",),
        (("entra", 31, 34),),
        head=(("entra", 3), ("digit", 1)),
    ),
    # Of 64 bytes: Storage, Cosmos DB, Batch, Machine Learning, API Management.
    Token(
        "azure_key_64",
        ("+ASt", "ACDb", "+ABa", "+AMC", "APIM"),
        (("base64", 6, 6), "=="),
        head=(("base64", 76),),
    ),
    # Of 32 bytes: Service Bus, Event Hubs, Relay, IoT Hub, Event Grid, Cache for Redis.
    Token(
        "azure_key_32",
        ("+ASb", "+AEh", "+ARm", "AIoT", "AZEG", "AzCa"),
        (("base64", 6, 6), "="),
        head=(("base64", 33),),
    ),
    Token("azure_search_key", ("AzSe",), (("alnum", 6, 6),), head=(("alnum", 42),)),
    Token("azure_registry_key", ("+ACR",), (("base64", 6, 6),), head=(("base64", 42),)),
    Token("azure_function_key", ("AzFu",), (("word", 6, 6), "=="), head=(("word", 44),)),
    # Azure OpenAI, DevOps and all that is annotated in the same way.
    Token(
        "azure_annotated_key",
        ("JQQJ99", "JQQJ9D", "JQQJ9H"),
        (("alnum", 26, 28),),
        head=(("alnum", 52),),
    ),
    Token("cloudflare_token", ("cfk_", "cfut_", "cfat_"), (("alnum", 48, 48),)),
    Token("cloudflare_origin_key", ("v1.0-",), (("hex", 24, 24), "-", ("hex", 146, 146))),
    Token("alibaba_access_key", ("LTAI",), (("alnum", 20, 20),)),
    Token("yandex_key", ("AQVN",), (("word", 35, 38),)),
    Token("openshift_token", ("sha256~",), (("word", 43, 43),)),
    Token("clickhouse_key", ("4b1d",), (("alnum", 38, 38),)),
    Token("pulumi_token", ("pul-",), (("hex", 40, 40),)),
    Token("vault_token", ("hvs.", "hvb.", "hvr."), (("word", 24, 300),)),
    Token("doppler_token", ("dp.pt.", "dp.st.", "dp.ct.", "dp.sa."), (("word", 40, 60),)),
    Token("onepassword_token", ("ops_eyJ",), (("base64", 100, 400),)),
    Token("tailscale_key", ("tskey-auth-", "tskey-api-", "tskey-client-"), (("word", 20, 80),)),
    # Source and packages.
    Token(
        "github_token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), (("alnum", 36, 36),), checked=True
    ),
    Token("github_fine_grained", ("github_pat_",), (("under", 82, 82),)),
    Token(
        "gitlab_routable_token",
        ("glpat-", "glrt-t1_", "glrt-t2_", "glrt-t3_"),
        (("word", 27, 300), ".", ("lower", 9, 9)),
    ),
    Token(
        "gitlab_token",
        (
            "glpat-",
            "gldt-",
            "glrt-",
            "glptt-",
            "glft-",
            "glsoat-",
            "glcbt-",
            "glimt-",
            "glagent-",
            "gloas-",
            "glffct-",
        ),
        (("word", 20, 64),),
    ),
    Token("gitlab_runner_token", ("GR1348941",), (("word", 20, 20),)),
    Token("npm_token", ("npm_",), (("alnum", 36, 36),), checked=True),
    Token("pypi_token", ("pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBp"), (("word", 50, 400),)),
    Token("rubygems_key", ("rubygems_",), (("hex", 48, 48),)),
    Token("docker_token", ("dckr_pat_", "dckr_oat_"), (("word", 27, 32),)),
    Token("artifactory_key", ("AKCp",), (("alnum", 69, 69),)),
    Token("artifactory_reference_token", ("cmVmd",), (("alnum", 59, 59),)),
    Token("buildkite_token", ("bkua_",), (("lower", 40, 40),)),
    Token("nuget_key", ("oy2",), (("lower", 43, 43),)),
    Token("octopus_key", ("API-",), (("upper", 26, 26),)),
    Token(
        "harness_token",
        ("pat.", "sat."),
        (("word", 22, 22), ".", ("alnum", 24, 24), ".", ("alnum", 20, 20)),
    ),
    Token("infracost_token", ("ico-",), (("alnum", 32, 32),)),
    Token("settlemint_token", ("sm_aat_", "sm_pat_", "sm_sat_"), (("alnum", 16, 16),)),
    Token("clojars_token", ("CLOJARS_",), (("alnum", 60, 60),)),
    Token("prefect_key", ("pnu_", "pnb_"), (("alnum", 36, 36),)),
    Token("scalingo_token", ("tk-us-",), (("word", 48, 48),)),
    Token("readme_key", ("rdme_",), (("alnum", 70, 70),)),
    Token("sourcegraph_token", ("sgp_",), (("under", 40, 64),)),
    # Chat.
    Token(
        "slack_token",
        ("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxe-", "xoxe.xoxp-", "xoxe.xoxb-"),
        (("dash", 12, 250),),
    ),
    Token("slack_app_token", ("xapp-",), (("dash", 20, 250),)),
    Token("slack_webhook", ("hooks.slack.com/services/T",), (("path", 24, 80),)),
    Token(
        "discord_webhook",
        ("discord.com/api/webhooks/", "discordapp.com/api/webhooks/"),
        (("hex", 17, 20), "/", ("word", 60, 80)),
    ),
    Token(
        "discord_token",
        ("MT", "Mj", "Mz", "ND", "NT", "Nj", "Nz", "OD", "OT"),
        (("word", 21, 26), ".", ("word", 6, 6), ".", ("word", 27, 38)),
    ),
    # Payment and shops.
    Token("stripe_key", ("sk_live_", "rk_live_", "sk_test_", "rk_test_"), (("under", 10, 247),)),
    Token("stripe_webhook_secret", ("whsec_",), (("base64", 32, 64),)),
    Token("shopify_token", ("shpat_", "shpca_", "shppa_", "shpss_"), (("hex", 32, 32),)),
    Token("square_token", ("sq0atp-", "sq0csp-"), (("word", 22, 43),)),
    Token("square_access_token", ("EAAA",), (("word", 60, 60),)),
    Token(
        "plaid_token",
        ("access-sandbox-", "access-development-", "access-production-"),
        (("hex", 8, 8), "-", ("hexes", 27, 27)),
    ),
    Token(
        "flutterwave_key",
        ("FLWSECK-", "FLWSECK_TEST-"),
        (("alnum", 32, 50), "-", ("upper", 1, 1)),
    ),
    Token("razorpay_key", ("rzp_live_", "rzp_test_"), (("alnum", 14, 14),)),
    # Mail and telephone.
    Token("sendgrid_key", ("SG.",), (("word", 22, 22), ".", ("word", 43, 43))),
    Token("mailgun_key", ("key-",), (("hex", 32, 32),)),
    Token("mailchimp_key", ("-us",), (("digit", 1, 2),), head=(("hex", 32),)),
    Token("twilio_key", ("SK",), (("hex", 32, 32),)),
    Token("brevo_key", ("xkeysib-", "xsmtpsib-"), (("hex", 64, 64), "-", ("alnum", 16, 16))),
    Token("resend_key", ("re_",), (("alnum", 8, 8), "_", ("alnum", 24, 24))),
    # Language models.
    Token("anthropic_key", ("sk-ant-",), (("word", 32, 200),)),
    Token("openai_key", ("sk-proj-", "sk-svcacct-", "sk-admin-"), (("word", 20, 250),)),
    Token("openrouter_key", ("sk-or-v1-",), (("hex", 64, 64),)),
    Token("llm_key", ("sk-",), (("alnum", 32, 64),)),
    Token("huggingface_token", ("hf_", "api_org_"), (("alnum", 34, 40),)),
    Token("groq_key", ("gsk_",), (("alnum", 52, 52),)),
    Token("replicate_token", ("r8_",), (("alnum", 37, 37),)),
    Token("perplexity_key", ("pplx-",), (("alnum", 40, 60),)),
    Token("xai_key", ("xai-",), (("alnum", 70, 90),)),
    Token("nvidia_key", ("nvapi-",), (("word", 60, 70),)),
    Token("langsmith_key", ("lsv2_pt_", "lsv2_sk_"), (("hex", 32, 32), "_", ("hex", 10, 10))),
    Token("pinecone_key", ("pcsk_",), (("alnum", 5, 6), "_", ("alnum", 63, 64))),
    # Watching and working.
    Token("maxmind_key", ("_mmk",), (), head=(("alnum", 6), ("under", 30))),
    Token("facebook_token", ("EAAC", "EAAM"), (("alnum", 100, 400),)),
    Token("apify_token", ("apify_api_",), (("alnum", 36, 36),)),
    Token("adobe_secret", ("p8e-",), (("alnum", 32, 32),)),
    Token("typeform_token", ("tfp_",), (("entra", 59, 59),)),
    Token("intra42_secret", ("s-s4t2ud-", "s-s4t2af-"), (("hex", 64, 64),)),
    Token("grafana_token", ("glsa_",), (("alnum", 32, 32), "_", ("hex", 8, 8))),
    Token("grafana_cloud_token", ("glc_eyJ",), (("base64", 32, 400),)),
    Token("new_relic_key", ("NRAK-", "NRII-", "NRJS-", "NRAL-"), (("word", 19, 32),)),
    Token("sentry_token", ("sntryu_",), (("hex", 64, 64),)),
    Token("sentry_org_token", ("sntrys_eyJ",), (("base64", 40, 400),)),
    Token("dynatrace_token", ("dt0c01.",), (("upper", 24, 24), ".", ("upper", 64, 64))),
    Token("linear_key", ("lin_api_", "lin_oauth_"), (("alnum", 40, 64),)),
    Token("postman_key", ("PMAK-",), (("hex", 24, 24), "-", ("hex", 34, 34))),
    Token("notion_token", ("ntn_",), (("alnum", 40, 60),)),
    Token("airtable_token", ("pat",), (("alnum", 14, 14), ".", ("hex", 64, 64))),
    Token("figma_token", ("figd_",), (("word", 40, 60),)),
    Token("atlassian_token", ("ATATT3xFfGF0",), (("word", 100, 250), "=", ("upper", 8, 8))),
    Token("asana_token", ("1/", "2/"), (("hex", 15, 19), ":", ("hex", 32, 32))),
    Token("contentful_token", ("CFPAT-",), (("word", 43, 43),)),
    Token("shippo_token", ("shippo_live_", "shippo_test_"), (("hex", 40, 40),)),
    Token("duffel_token", ("duffel_live_", "duffel_test_"), (("word", 43, 43),)),
    Token("easypost_key", ("EZAK", "EZTK"), (("alnum", 54, 54),)),
    Token("adafruit_key", ("aio_",), (("under", 28, 28),)),
    Token("frameio_token", ("fio-u-",), (("word", 64, 64),)),
    Token("age_key", ("AGE-SECRET-KEY-1",), (("upper", 58, 58),)),
)
"""Where several begin alike, the longest prefix that makes a token is taken, of equal ones the
first."""

OTHERS: tuple[tuple[str, str], ...] = (
    ("telegram_token", "8 to 10 digits, `:AA` and 33 letters, digits, `_` or `-`"),
    ("jwt", "three parts in base64url; the first decodes to a JSON object with `alg`"),
    ("private_key", "PEM of any private key, RSA, EC, OpenSSH or PGP, from BEGIN to END"),
    ("url_password", "`user:password` before the `@` of any URL, connection strings too"),
    ("azure_signature", "the value of `sig=`, in base64, 43 characters or more"),
    ("azure_account_key", "the value of `AccountKey=` or `SharedAccessKey=`, in base64"),
    ("password", "the value behind a word or key that says password"),
    ("named", "the value behind another word or key that says secret"),
)
"""Secrets that more than a prefix tells, and what does."""

NAMES: tuple[str, ...] = tuple(
    f"secret.{name}" for name in [token.name for token in TOKENS] + [name for name, _ in OTHERS]
)
"""The closed set of names; a span's number is the index in it."""

PASSWORDS: tuple[str, ...] = (
    "password", "passwd", "passwort", "passphrase", "passcode", "pwd", "mot de passe",
    "contraseña", "senha", "wachtwoord", "kennwort", "lösenord", "hasło", "пароль",
    "密码", "密碼", "パスワード", "비밀번호",
)  # fmt: skip
"""Words that call a value secret that is as long as a password is, wherever they stand; they may
end a longer name. A space stands for one of ` _-.` or nothing."""

SHORT_WORDS: tuple[str, ...] = ("pass", "pw", "mdp", "clave")
"""The same at the end of a longer name (`DB_PASS`, `rootPw`). Alone they mean other things too, and
a value must look more like a password."""

LEAST_PASSWORD = 6
"""Characters of a value behind a word that says password."""

VERBS: tuple[str, ...] = ("is", "was", "ist", "lautet", "est", "es")
"""What may stand between a word and its value, with spaces around it."""

LABELS: tuple[str, ...] = ("value", "default")
"""What may stand between a name that is given as a value and the value of that name; and what a key
ends in whose value is named by another member."""

CONTENTS: tuple[str, ...] = ("content", "answer", "text", "data", "input", "response", "val", "v")
"""What else such a key ends in, where the value is a number or nine digits."""

TITLES: tuple[str, ...] = (
    "name", "key", "field", "label", "id", "type", "title", "header", "question", "column",
    "param", "parameter", "property", "attribute", "variable",
)  # fmt: skip
"""What the key of such a member ends in."""

SECRETS: tuple[str, ...] = (
    "secret", "token", "api key", "access key", "private key", "secret key", "auth key",
    "account key", "encryption key", "signing key", "master key", "subscription key",
    "session key", "storage key", "hmac key", "deploy key", "secret key base",
)  # fmt: skip
"""In keys, of eight characters or more; before a value in a text, of sixteen. A space stands for
one of ` _-.` or nothing."""

SCHEMES: tuple[str, ...] = ("credential", "credentials", "authorization", "bearer", "basic")
"""Of sixteen characters or more, before a value in a text, and in keys."""

NOT_TOKENS: tuple[str, ...] = ("page", "next", "sync", "continuation")
"""`page_token` and the like say where a list goes on."""

NOT_SHORT: tuple[str, ...] = ("auto", "by", "com", "con", "en", "over", "sur", "tres", "under")
"""`bypass`, `enclave` and the like are words of their own."""

PLACEHOLDERS: tuple[str, ...] = (
    "changeme", "change_me", "change-me", "placeholder", "redacted", "xxxx",
)  # fmt: skip
"""In any case, anywhere in what stands for a value; `your` counts at its beginning."""

REFERENCES: tuple[str, ...] = (
    "args", "config", "data", "env", "local", "models", "os", "params", "process", "props", "req",
    "request", "secrets", "self", "settings", "this", "user", "var", "vars",
)  # fmt: skip
"""With a dot behind it and a letter, such a value in a text is where code has the value."""

ENTROPY = tuple(round(n * math.log2(n) * 1024) if n else 0 for n in range(257))
"""n log2 n, in 1/1024 bits: the entropy of a text of n characters is ENTROPY[n] less ENTROPY[c]
for each character, of which it has c; all of that for its whole length."""

LEAST_ENTROPY = 2600
"""Of a value behind such a word, in 1/1024 bits a character: what lies under 2.54 is a pattern."""

LAST_WORDS: tuple[str, ...] = tuple(
    sorted(
        {
            words.split()[-1]
            for words in (*PASSWORDS, *SHORT_WORDS, *SECRETS, *SCHEMES, *LABELS, "sig")
        }
    )
)
"""What those words end in behind which a value is looked at, in small letters."""

FIRST_WORDS: tuple[str, ...] = tuple(
    sorted(
        {
            word[0].lower()
            for token in TOKENS
            for prefix in token.prefixes
            if (word := re.match("[0-9A-Za-z]{2,}(?=[^0-9A-Za-z])", prefix))
        }
        - set(LAST_WORDS)
    )
)
"""The beginnings of tokens up to a sign, in small letters."""
