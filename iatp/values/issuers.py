"""Which card numbers are assigned: ranges of the first six digits, with the lengths in use.

From the issuer identification numbers of ISO/IEC 7812 as Wikipedia's "Payment card number"
collects them (state of July 2024). Ranges include both ends and may overlap; a number is
assigned where any row has its prefix and its length. Maestro's rows are wider than today's
(it gave out all of 50 and 56-58) at 16 and 19 digits; at other lengths they are the ranges that
Maestro, Laser and Solo had of old.

Lengths are those that are printed on cards, not all that a network could read. 17 and 18 digits
have UnionPay and Maestro alone: others allow "16 to 19" and give out 16, some 19, and every
snowflake has 18. 13 has Visa, and Maestro's old ranges: 50 and 56 at 13 digits are the articles of
the United Kingdom and Portugal. Left out are UATP and GPN under 1, because any time stamp begins
like that, and Diners Club at 15 digits, which is not printed.
"""

from __future__ import annotations

ISSUERS: tuple[tuple[str, int, int, tuple[int, ...]], ...] = (
    ("Mir", 220000, 220499, (16, 19)),
    ("BORICA", 220500, 220599, (16, 19)),
    ("Mastercard", 222100, 272099, (16,)),
    ("Diners Club", 300000, 305999, (14, 16, 19)),
    ("Diners Club", 309500, 309599, (14, 16, 19)),
    ("China T-Union", 310000, 319999, (19,)),
    ("American Express", 340000, 349999, (15,)),
    ("JCB, RuPay, LankaPay", 352800, 358999, (16, 19)),
    ("Diners Club", 360000, 369999, (14, 16, 19)),
    ("American Express", 370000, 379999, (15,)),
    ("Diners Club", 380000, 399999, (14, 16, 19)),
    ("Visa, Dankort, Switch", 400000, 499999, (13, 16, 19)),
    ("Maestro, GPN, Dankort, Verve, RuPay", 500000, 509999, (16, 19)),
    ("Maestro", 501800, 501899, (13, 14, 15, 16, 17, 18, 19)),
    ("Maestro", 502000, 502099, (13, 14, 15, 16, 17, 18, 19)),
    ("Maestro", 503800, 503899, (13, 14, 15, 16, 17, 18, 19)),
    ("Verve", 506099, 506198, (16, 18, 19)),
    ("Verve", 507865, 507964, (16, 18, 19)),
    ("Mastercard", 510000, 559999, (16,)),
    ("Maestro, GPN, UzCard, AfriGo", 560000, 589999, (16, 19)),
    ("Maestro", 589300, 589399, (13, 14, 15, 16, 17, 18, 19)),
    ("Discover, RuPay, UkrCard, GPN", 600000, 609999, (16, 19)),
    ("GPN", 610000, 619999, (16, 19)),
    ("UnionPay, Discover, GPN", 620000, 629999, (16, 17, 18, 19)),
    ("Maestro, InstaPayment, InterPayment", 630000, 639999, (16, 19)),
    ("Maestro, Laser", 630400, 630499, (13, 14, 15, 16, 17, 18, 19)),
    ("Discover, RuPay, Troy, Verve", 640000, 659999, (16, 19)),
    ("Verve", 650002, 650027, (16, 18, 19)),
    ("Maestro, Laser, Solo, Switch", 670000, 679999, (16, 19)),
    ("Maestro, Solo", 675900, 676799, (13, 14, 15, 16, 17, 18, 19)),
    ("UnionPay", 810000, 817199, (16, 17, 18, 19)),
    ("RuPay", 810000, 829999, (16,)),
    ("UzCard", 860000, 860099, (16,)),
    ("Napas", 970400, 970499, (16, 19)),
    ("Troy", 979200, 979289, (16,)),
    ("Humo", 986000, 986099, (16,)),
)
