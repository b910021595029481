"""What cannot be generated is refused before anything is."""

from __future__ import annotations

import pytest

from untrue.engine.replies import Request, check
from untrue.errors import UserError


@pytest.mark.parametrize("stops", [("",), ("a", "")])
def test_an_empty_stop_sequence_is_refused_in_one_line(stops: tuple[str, ...]):
    with pytest.raises(UserError, match=r"^stop_seqs: an empty text would end every reply at once\. Leave it out\.$"):
        check(Request(prompt=(1,), max_tokens=2, stop_seqs=stops), "tiny", 8)
    check(Request(prompt=(1,), max_tokens=2, stop_seqs=(" ", "a")), "tiny", 8)
