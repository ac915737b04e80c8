"""--kv-dtype: what the cache holds its numbers in."""

from __future__ import annotations

import json
from typing import Any

import pytest

PROMPT = ("generate", "Once upon a time there was", "-n", "40", "--temp", "0", "--json")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_the_text_goes_on_much_the_same(run_lmtool: Any, dtype: str) -> None:
    plain = json.loads(run_lmtool(*PROMPT).stdout)
    other = json.loads(run_lmtool(*PROMPT, "--kv-dtype", dtype).stdout)
    assert other["settings"]["kv_dtype"] == {"value": dtype, "source": "command line"}
    assert other["token_ids"][:10] == plain["token_ids"][:10]
    assert (dtype != "float32") or other["token_ids"] == plain["token_ids"]


def test_another_name_is_refused(run_lmtool: Any) -> None:
    ran = run_lmtool(*PROMPT, "--kv-dtype", "int7")
    assert ran.returncode == 2
    assert "--kv-dtype must be" in ran.stderr.decode()
    assert ran.stdout == b""
