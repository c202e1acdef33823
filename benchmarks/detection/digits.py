"""Numbers with their check digits, and look-alikes of every sort.

Nothing here looks at iatp: the issuers' prefixes are written down a second time, from the
issuers' published ranges, so that a gap in the sidecar's table shows as a miss.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable
from random import Random

CARDS = (
    ("Visa", ("4",), 16, 40),
    ("Mastercard", ("51", "52", "53", "54", "55", "2221", "2300", "2720"), 16, 25),
    ("American Express", ("34", "37"), 15, 12),
    ("Discover", ("6011", "644", "65"), 16, 6),
    ("JCB", ("3528", "3566", "3589"), 16, 4),
    ("Diners Club", ("300", "305", "36", "38"), 14, 4),
    ("UnionPay", ("62",), 16, 4),
    ("UnionPay", ("62",), 19, 1),
    ("Maestro", ("5018", "5020", "6304", "6759"), 16, 2),
    ("Maestro", ("6304",), 19, 1),
    ("Visa", ("4",), 13, 1),
    ("Visa", ("4",), 19, 1),
    ("Mir", ("2200", "2204"), 16, 2),
    ("RuPay", ("508", "817"), 16, 2),
    ("Troy", ("97920", "97925", "97928"), 16, 1),
)
"""Name, prefixes, length, share. Names as their owners publish them (ISO/IEC 7812)."""

IBANS = {
    "DE": "18n",
    "GB": "4a14n",
    "FR": "10n11c2n",
    "ES": "20n",
    "IT": "1a10n12c",
    "NL": "4a10n",
    "BE": "12n",
    "CH": "5n12c",
    "AT": "16n",
    "PL": "24n",
    "SE": "20n",
    "NO": "11n",
    "DK": "14n",
    "FI": "14n",
    "PT": "21n",
    "IE": "4a14n",
    "CZ": "20n",
    "GR": "7n16c",
    "LU": "3n13c",
    "MT": "4a5n18c",
    "TR": "5n1n16c",
    "SA": "2n18c",
    "AE": "19n",
    "BR": "23n1a1c",
    "RO": "4a16c",
}
"""BBAN structures of the SWIFT IBAN registry: n digits, a capitals, c capitals and digits."""

BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's, of ULIDs."""


def digits(rng: Random, count: int) -> str:
    return f"{rng.randrange(10**count):0{count}d}" if count else ""


def letters(rng: Random, alphabet: str, count: int) -> str:
    return "".join([alphabet[rng.randrange(len(alphabet))] for _ in range(count)])


def hexes(rng: Random, count: int) -> str:
    return f"{rng.getrandbits(4 * count):0{count}x}"


def raw(rng: Random, count: int) -> bytes:
    return rng.getrandbits(8 * count).to_bytes(count, "big") if count else b""


def luhn(body: str) -> str:
    """The number with its check digit (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 - place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return body + str(-total % 10)


def mod10_3(body: str) -> str:
    """With the check digit of GTIN, EAN, ISBN-13, SSCC (GS1, weights 3 and 1)."""
    total = sum(int(digit) * (3 - 2 * (place % 2)) for place, digit in enumerate(reversed(body)))
    return body + str(-total % 10)


def card(rng: Random) -> tuple[str, str]:
    """The issuer and a number."""
    name, prefixes, length, _ = rng.choices(CARDS, [each[3] for each in CARDS])[0]
    prefix = rng.choice(prefixes)
    return name, luhn(prefix + digits(rng, length - len(prefix) - 1))


def ssn(rng: Random) -> tuple[str, str]:
    """SSN or ITIN, and nine digits (SSA and IRS: what is issued)."""
    if rng.random() < 0.15:
        group = rng.choice([*range(50, 66), *range(70, 89), 90, 91, 92, *range(94, 100)])
        return "ITIN", f"9{digits(rng, 2)}{group:02d}{rng.randrange(1, 10000):04d}"
    area = rng.choice([each for each in range(1, 900) if each != 666])
    return "SSN", f"{area:03d}{rng.randrange(1, 100):02d}{rng.randrange(1, 10000):04d}"


def bban(rng: Random, structure: str) -> str:
    text, count = "", ""
    for sign in structure:
        if sign.isdigit():
            count += sign
            continue
        alphabet = {"n": string.digits, "a": string.ascii_uppercase}.get(
            sign, string.digits + string.ascii_uppercase
        )
        text += letters(rng, alphabet, int(count))
        count = ""
    return text


def iban_of(country: str, account: str) -> str:
    """ISO 13616: 98 less the rest of the number by 97."""
    number = "".join(str(int(sign, 36)) for sign in f"{account}{country}00")
    return f"{country}{98 - int(number) % 97:02d}{account}"


def iban(rng: Random) -> tuple[str, str]:
    """The country and an IBAN."""
    country = rng.choice(list(IBANS))
    return country, iban_of(country, bban(rng, IBANS[country]))


def uuid(rng: Random) -> str:
    text = hexes(rng, 32)
    variant = "89ab"[rng.randrange(4)]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def ulid(rng: Random) -> str:
    return "01" + letters(rng, BASE32, 24)


def ups(rng: Random) -> str:
    """1Z, six of the shipper, two of the service, eight digits (check digit left to chance)."""
    return "1Z" + letters(rng, string.digits + string.ascii_uppercase, 6) + digits(rng, 10)


def tracking(rng: Random) -> tuple[str, str]:
    sort = rng.choice(["UPS", "FedEx", "FedEx Ground", "USPS", "DHL", "DHL eCommerce", "UPU S10"])
    if sort == "UPS":
        return sort, ups(rng)
    if sort == "USPS":
        text = mod10_3("9" + rng.choice(["4001", "2055", "3612"]) + digits(rng, 16))
        return sort, " ".join(
            text[at : at + 4] for at in range(0, 22, 4)
        ) if rng.random() < 0.5 else text
    if sort == "UPU S10":
        return (
            sort,
            letters(rng, string.ascii_uppercase, 2)
            + digits(rng, 9)
            + rng.choice(["DE", "US", "CN"]),
        )
    length = {"FedEx": 12, "FedEx Ground": 15, "DHL": 10, "DHL eCommerce": 20}[sort]
    return sort, digits(rng, length)


def imei(rng: Random) -> str:
    """A type allocation code begins with the reporting body: 01, 35, 86, 91, 99 (GSMA TS.06)."""
    return luhn(rng.choice(["35", "35", "35", "86", "86", "01", "99"]) + digits(rng, 12))


def iccid(rng: Random) -> str:
    """89, the country, the issuer; 19 digits with a check digit (ITU-T E.118)."""
    return luhn("89" + rng.choice(["01", "44", "49", "33", "81", "86"]) + digits(rng, 14))


def isbn(rng: Random) -> str:
    text = mod10_3("978" + digits(rng, 9))
    if rng.random() < 0.5:
        return text
    return f"{text[:3]}-{text[3]}-{text[4:7]}-{text[7:12]}-{text[12]}"


def phone(rng: Random) -> str:
    forms: list[Callable[[], str]] = [
        lambda: f"+1 {digits(rng, 3)}-{digits(rng, 3)}-{digits(rng, 4)}",
        lambda: f"({digits(rng, 3)}) {digits(rng, 3)}-{digits(rng, 4)}",
        lambda: f"+49 {digits(rng, 3)} {digits(rng, 8)}",
        lambda: f"+44 20 {digits(rng, 4)} {digits(rng, 4)}",
        lambda: f"+33 {rng.randrange(1, 10)} " + " ".join(digits(rng, 2) for _ in range(4)),
        lambda: f"+86{13 + rng.randrange(7)}{digits(rng, 9)}",
        lambda: f"00{rng.choice([49, 41, 31])}{digits(rng, 9)}",
        lambda: f"0{digits(rng, 3)}/{digits(rng, 7)}",
    ]
    return rng.choice(forms)()


def decimal(rng: Random, wide: float = 1.0) -> str:
    """A float as programs print it. Made of integers, so that no libm decides its last digit."""
    value = (rng.getrandbits(53) / 2**53 - 0.5) * wide
    return repr(value)


def embedding(rng: Random, count: int) -> list[str]:
    """Floats of a vector: near 0, in one of the precisions in use."""
    form = rng.randrange(4)
    if form == 0:
        return [decimal(rng, 0.2) for _ in range(count)]
    if form == 1:
        return [f"{rng.randrange(-(10**9), 10**9) / 1e10:.8f}" for _ in range(count)]
    if form == 2:
        return [f"{rng.randrange(-(10**17), 10**17) / 1e20:.16e}" for _ in range(count)]
    return [f"{rng.randrange(-999999, 999999) / 1e7:.7g}" for _ in range(count)]


def lookalike(rng: Random) -> tuple[str, str, str, bool]:
    """The sort, a key that says so, a value, and whether JSON may have it as a number."""
    sort = rng.choices(_SORTS, _SHARES)[0]
    key, number, make = LOOKALIKES[sort]
    return sort, key, make(rng), number


def _no_ssn(rng: Random) -> str:
    """What looks like one, of an area, a group or a layout that there is not."""
    forms: list[Callable[[], str]] = [
        lambda: f"{rng.choice(['000', '666'])}-{digits(rng, 2)}-{digits(rng, 4)}",
        lambda: f"{digits(rng, 3)}-00-{digits(rng, 4)}",
        lambda: f"9{digits(rng, 2)}-{rng.choice(['12', '30', '49', '93'])}-{digits(rng, 4)}",
        lambda: f"{digits(rng, 2)}-{digits(rng, 7)}",
        lambda: f"{digits(rng, 3)}-{digits(rng, 3)}-{digits(rng, 4)}",
    ]
    return rng.choice(forms)()


def _grouped(rng: Random) -> str:
    return "-".join([digits(rng, rng.randrange(3, 6)) for _ in range(3)])


def _snowflake(rng: Random) -> str:
    """Of 2024 to 2026: X's (since 4 November 2010) or Discord's (since 2015)."""
    epoch = rng.choice([1288834974657, 1420070400000])
    return str((rng.randrange(1704067200000, 1790000000000) - epoch) << 22 | rng.getrandbits(22))


LOOKALIKES: dict[str, tuple[str, bool, Callable[[Random], str]]] = {
    "order number of 10": ("order_id", True, lambda rng: digits(rng, 10)),
    "order number of 3-7-7": (
        "amazonOrderId",
        False,
        lambda rng: f"{digits(rng, 3)}-{digits(rng, 7)}-{digits(rng, 7)}",
    ),
    "order number of 16": ("orderNumber", True, lambda rng: str(rng.randrange(10**15, 10**16))),
    "order number, dated": (
        "order_no",
        False,
        lambda rng: (
            f"ORD-2026{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}-{digits(rng, 6)}"
        ),
    ),
    "transaction, dated": (
        "transaction_id",
        True,
        lambda rng: f"2026{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}{digits(rng, 10)}",
    ),
    "invoice": ("invoice", False, lambda rng: f"INV-{_grouped(rng)}"),
    "ticket": (
        "ticket",
        False,
        lambda rng: f"{rng.choice(['OPS', 'CORE', 'WEB'])}-{digits(rng, 5)}",
    ),
    "tracking number": ("tracking_number", False, lambda rng: tracking(rng)[1]),
    "IMEI": ("imei", True, imei),
    "IMSI": ("imsi", True, lambda rng: "310" + digits(rng, 12)),
    "ICCID": ("iccid", False, iccid),
    "EAN": (
        "ean",
        True,
        lambda rng: mod10_3(rng.choice(["40", "50", "30", "76", "00"]) + digits(rng, 10)),
    ),
    "GTIN-14": ("gtin", False, lambda rng: mod10_3("1" + digits(rng, 12))),
    "SSCC": ("sscc", False, lambda rng: mod10_3("0" + digits(rng, 16))),
    "ISBN": ("isbn", False, isbn),
    "telephone number": ("phone", False, phone),
    "price": ("total", True, lambda rng: f"{rng.randrange(1, 10**7) / 100:.2f}"),
    "price, grouped": (
        "amount",
        False,
        lambda rng: f"{rng.randrange(10**6, 10**9):,}.{digits(rng, 2)} EUR",
    ),
    "date": (
        "date",
        False,
        lambda rng: f"2026-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
    ),
    "time in ms": ("timestamp", True, lambda rng: str(rng.randrange(1577836800000, 1893456000000))),
    "time in us": (
        "ts_us",
        True,
        lambda rng: str(rng.randrange(1577836800000000, 1893456000000000)),
    ),
    "time in ns": (
        "time_ns",
        True,
        lambda rng: str(rng.randrange(1577836800 * 10**9, 1893456000 * 10**9)),
    ),
    "compact time": ("stamp", False, lambda rng: f"2026{digits(rng, 4)}T{digits(rng, 6)}Z"),
    "coordinates": (
        "location",
        False,
        lambda rng: f"{rng.randrange(-90 * 10**14, 90 * 10**14) / 1e14:.14f},{decimal(rng, 360.0)}",
    ),
    "decimal": ("score", True, decimal),
    "snowflake": ("message_id", False, _snowflake),
    "snowflake as number": ("tweet_id", True, _snowflake),
    "ULID": ("id", False, ulid),
    "UUID": ("request_id", False, uuid),
    "UUID without dashes": ("trace_id", False, lambda rng: hexes(rng, 32)),
    "UUID of digits": (
        "session",
        False,
        lambda rng: "-".join(digits(rng, count) for count in (8, 4, 4, 4, 12)),
    ),
    "span ID": ("span_id", False, lambda rng: hexes(rng, 16)),
    "object ID": ("_id", False, lambda rng: hexes(rng, 24)),
    "commit": ("commit", False, lambda rng: hexes(rng, 40)),
    "short commit": ("revision", False, lambda rng: hexes(rng, 7)),
    "SHA-256": ("digest", False, lambda rng: "sha256:" + hexes(rng, 64)),
    "MD5": ("etag", False, lambda rng: f'W/"{hexes(rng, 32)}"'.replace('"', "")),
    "integrity": (
        "integrity",
        False,
        lambda rng: "sha512-" + base64.b64encode(raw(rng, 64)).decode(),
    ),
    "nanoid": (
        "slug",
        False,
        lambda rng: letters(rng, string.ascii_letters + string.digits + "_-", 21),
    ),
    "cuid": (
        "cuid",
        False,
        lambda rng: "c" + letters(rng, string.ascii_lowercase + string.digits, 24),
    ),
    "public ID": (
        "customer",
        False,
        lambda rng: (
            rng.choice(["cus_", "prod_", "evt_", "in_", "chatcmpl-", "call_", "msg_", "toolu_"])
            + letters(rng, string.ascii_letters + string.digits, 24)
        ),
    ),
    "publishable key": (
        "publishable",
        False,
        lambda rng: "pk_live_" + letters(rng, string.ascii_letters + string.digits, 24),
    ),
    "IP address": ("ip", False, lambda rng: ".".join(str(rng.randrange(256)) for _ in range(4))),
    "IPv6 address": ("peer", False, lambda rng: ":".join(hexes(rng, 4) for _ in range(8))),
    "MAC address": ("mac", False, lambda rng: ":".join(hexes(rng, 2) for _ in range(6))),
    "version": (
        "version",
        False,
        lambda rng: ".".join(str(rng.randrange(1, 40)) for _ in range(4)),
    ),
    "VAT number": (
        "vat_id",
        False,
        lambda rng: f"{rng.choice(['DE', 'ATU', 'FR'])}{digits(rng, 9)}",
    ),
    "postcode": ("zip", False, lambda rng: f"{digits(rng, 5)}-{digits(rng, 4)}"),
    "bank routing": ("routing", True, lambda rng: "1" + digits(rng, 8)),
    "account": ("account_no", False, lambda rng: digits(rng, rng.randrange(8, 13))),
    "IBAN that fails": (
        "iban_example",
        False,
        lambda rng: _broken(rng, iban(rng)[1]),
    ),
    "card that fails": ("reference", False, lambda rng: _broken(rng, card(rng)[1])),
    "card that fails, in fours": (
        "reference_no",
        False,
        lambda rng: _fours(_broken(rng, card(rng)[1])),
    ),
    "masked card": (
        "card",
        False,
        lambda rng: (
            rng.choice(["************", "XXXX-XXXX-XXXX-", "4111 11** **** "]) + digits(rng, 4)
        ),
    ),
    "no SSN": ("code", False, _no_ssn),
    "nine digits": ("quantity", True, lambda rng: str(rng.randrange(10**8, 10**9))),
    "long digits": ("serial", False, lambda rng: digits(rng, rng.randrange(20, 40))),
    "JWT that is none": (
        "cursor",
        False,
        lambda rng: (
            "eyJ" + letters(rng, string.ascii_letters + string.digits, rng.randrange(20, 60))
        ),
    ),
    "placeholder": (
        "api_key",
        False,
        lambda rng: rng.choice(
            [
                "YOUR_API_KEY",
                "<token>",
                "${API_KEY}",
                "xxxxxxxx",
                "{{ secrets.TOKEN }}",
                "changeme",
                "********",
            ]
        ),
    ),
    "path": (
        "path",
        False,
        lambda rng: f"s3://bucket-{hexes(rng, 8)}/2026/{uuid(rng)}/part-{digits(rng, 5)}.parquet",
    ),
    "URL": (
        "url",
        False,
        lambda rng: (
            f"https://cdn.example.com/{hexes(rng, 2)}/{hexes(rng, 40)}/{digits(rng, 13)}_o.jpg"
            f"?w={digits(rng, 4)}&sig={hexes(rng, 8)}"
        ),
    ),
    "handle": ("handle", False, lambda rng: f"@{letters(rng, string.ascii_lowercase, 8)}"),
    "package": (
        "package",
        False,
        lambda rng: f"@types/node@{rng.randrange(9, 24)}.{rng.randrange(20)}.{rng.randrange(20)}",
    ),
    "SSH remote": (
        "remote",
        False,
        lambda rng: f"git@{rng.choice(['host-1', 'git.example.com'])}:org/{digits(rng, 4)}.git",
    ),
}
"""Key that names it, whether a JSON number can hold it, and how it is made."""

RARE = {"SSH remote": 0.1}
"""Sorts that bodies hold less often than the others: one beside ten of those. At par, there
would be a remote for every six addresses.
"""

_SORTS = list(LOOKALIKES)
_SHARES = [RARE.get(sort, 1.0) for sort in _SORTS]


def _broken(rng: Random, number: str) -> str:
    """With one digit changed: Luhn and mod 97 both see that."""
    places = [place for place, sign in enumerate(number) if sign.isdigit() and place > 5]
    place = rng.choice(places or [3])
    wrong = (int(number[place]) + rng.randrange(1, 10)) % 10
    return f"{number[:place]}{wrong}{number[place + 1 :]}"


def _fours(number: str) -> str:
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4))
