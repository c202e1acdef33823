"""The sidecar beside plain proxies: `make peers`.

Every proxy runs alone on one core while it is measured; the load generator (wrk) and the agent
(nginx) share the other. What is compared is measured in turns, so that other work on the
machine meets all of them, and ratios are those of one turn.
"""
