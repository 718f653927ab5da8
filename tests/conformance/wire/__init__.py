"""The conformance matrix: every client protocol in front of every backend protocol, under every kind of rule.

A cell is one pair of protocols, streamed or not, under one rule. `clients` asks as a user does, by the official SDKs;
`backends` scripts a strict mock and reads what it was sent; `cells` says what must be seen, once for all pairs.
"""

import pytest

pytest.register_assert_rewrite("tests.conformance.wire.scenarios")
