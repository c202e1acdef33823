"""Which card numbers are assigned: ranges of the first six digits, with the lengths in use.

From the public tables of issuer identification numbers (ISO/IEC 7812, as collected in
Wikipedia's "Payment card number", read in 2026). Ranges include both ends.
"""

from __future__ import annotations

ISSUERS: tuple[tuple[str, int, int, tuple[int, ...]], ...] = (
    ("Mir", 220000, 220499, (16, 17, 18, 19)),
    ("Mastercard", 222100, 272099, (16,)),
    ("Diners Club", 300000, 305999, (14, 16, 17, 18, 19)),
    ("Diners Club", 309500, 309599, (14, 16, 17, 18, 19)),
    ("American Express", 340000, 349999, (15,)),
    ("JCB", 352800, 358999, (16, 17, 18, 19)),
    ("Diners Club", 360000, 369999, (14, 16, 17, 18, 19)),
    ("American Express", 370000, 379999, (15,)),
    ("Diners Club", 380000, 399999, (14, 16, 17, 18, 19)),
    ("Visa", 400000, 499999, (13, 16, 19)),
    ("Maestro", 500000, 509999, (13, 14, 15, 16, 17, 18, 19)),
    ("Mastercard", 510000, 559999, (16,)),
    ("Maestro", 560000, 589999, (13, 14, 15, 16, 17, 18, 19)),
    ("Discover, RuPay", 600000, 609999, (16, 17, 18, 19)),
    ("UnionPay", 620000, 629999, (16, 17, 18, 19)),
    ("Maestro, InstaPayment, InterPayment", 630000, 639999, (13, 14, 15, 16, 17, 18, 19)),
    ("Discover", 640000, 659999, (16, 17, 18, 19)),
    ("Maestro", 670000, 679999, (13, 14, 15, 16, 17, 18, 19)),
    ("UnionPay, RuPay", 810000, 820199, (16, 17, 18, 19)),
    ("Troy", 979200, 979289, (16,)),
)
