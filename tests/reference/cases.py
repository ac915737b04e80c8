"""Checkpoints of every family, in all the ways that its configs differ."""

from __future__ import annotations

from reference import (
    cases_alibi,
    cases_cohere,
    cases_experts,
    cases_fused,
    cases_gemma,
    cases_gpt_early,
    cases_llama,
    cases_neox,
    cases_olmo,
    cases_relatives,
)

CASES = (
    *cases_llama.CASES,
    *cases_relatives.CASES,
    *cases_gemma.CASES,
    *cases_olmo.CASES,
    *cases_cohere.CASES,
    *cases_fused.CASES,
    *cases_experts.CASES,
    *cases_gpt_early.CASES,
    *cases_neox.CASES,
    *cases_alibi.CASES,
)
