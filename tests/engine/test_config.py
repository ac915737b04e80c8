"""config.json field by field: what makes no sense is refused by name, what is unknown too."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool import ModelError
from lmtool.engine.families.table import find_family
from lmtool.engine.spec import ModelSpec

WHERE = "`config.json`"
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 1e4,
        "factor": 4.0,
        "original_max_position_embeddings": 128,
        "beta_fast": 32,
        "beta_slow": 1,
    },
}
QWEN: dict[str, Any] = {
    **LLAMA,
    "model_type": "qwen3",
    "use_sliding_window": True,
    "sliding_window": 16,
    "max_window_layers": 1,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 1e4,
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
    },
}
del QWEN["mlp_bias"]


def read(config: dict[str, Any]) -> ModelSpec:
    config = copy.deepcopy(config)
    return find_family(config, WHERE).spec(config, WHERE)


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(ModelError) as caught:
        read(config)
    message = caught.value.message
    assert message.startswith(WHERE)
    assert "\n" not in message
    assert len(message) < 300
    return message


WHOLE = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
]
FLAGS = ["attention_bias", "mlp_bias", "tie_word_embeddings"]


@pytest.mark.parametrize("value", [0, -1, 2.0, 1.5, "48", True, [48], {}, math.nan], ids=repr)
@pytest.mark.parametrize("name", WHOLE)
def test_sizes_are_whole_numbers_above_zero(name: str, value: object) -> None:
    assert f"`{name}` is {value!r}, not a whole number" in refusal(LLAMA | {name: value})


@pytest.mark.parametrize("value", ["true", 1, 0, [], {}], ids=repr)
@pytest.mark.parametrize("name", FLAGS)
def test_flags_are_true_or_false(name: str, value: object) -> None:
    assert f"`{name}` is {value!r}, not true or false" in refusal(LLAMA | {name: value})


@pytest.mark.parametrize("value", ["1e-5", True, [], math.nan, math.inf, 10**400], ids=str)
def test_numbers_are_numbers(value: object) -> None:
    assert "`rms_norm_eps` is " in refusal(LLAMA | {"rms_norm_eps": value})


@pytest.mark.parametrize("value", ["siluu", "", 1, ["silu"], {}, False], ids=repr)
def test_an_unknown_activation(value: object) -> None:
    assert f"`hidden_act` is {value!r}, not one of silu" in refusal(LLAMA | {"hidden_act": value})


@pytest.mark.parametrize("name", ["vocab_size", "hidden_size", "num_hidden_layers"])
@pytest.mark.parametrize("null", [False, True])
def test_what_must_be_there(name: str, null: bool) -> None:
    config = {**LLAMA, name: None}
    if not null:
        del config[name]
    assert refusal(config) == f"{WHERE} lacks `{name}`"


@pytest.mark.parametrize("value", [1, 0.5, "x", [1], {"a": 1}, True, ""], ids=repr)
def test_an_unknown_field_away_from_neutral(value: object) -> None:
    message = refusal(LLAMA | {"quantum_attention": value})
    assert message == (
        f"{WHERE} has a field lmtool doesn't understand: `quantum_attention`: {value!r}"
    )


@pytest.mark.parametrize("value", [None, False])
def test_an_unknown_field_that_is_off(value: object) -> None:
    assert read(LLAMA | {"quantum_attention": value}) == read(LLAMA)


def test_an_unknown_field_of_the_rope() -> None:
    rope = LLAMA["rope_parameters"] | {"warp": 9}
    assert "doesn't understand: `warp`: 9" in refusal(LLAMA | {"rope_parameters": rope})


def test_heads_that_do_not_go_together() -> None:
    message = refusal(LLAMA | {"num_key_value_heads": 4})
    assert message == f"{WHERE}: `num_key_value_heads` is 4, not a divisor of 6 heads"
    message = refusal(LLAMA | {"hidden_size": 50, "head_dim": None})
    assert "`hidden_size` is 50, not a multiple of 6 heads" in message
    assert read(LLAMA | {"num_key_value_heads": None}).layers[0].mixer.kv_heads == 6


@pytest.mark.parametrize("head_dim", [1, 7, 15])
def test_a_head_that_does_not_turn_in_pairs(head_dim: int) -> None:
    assert f"`head_dim` is {head_dim}, not" in refusal(LLAMA | {"head_dim": head_dim})


BAD_ROPES: list[tuple[dict[str, Any], str]] = [
    ({"rope_type": "spiral"}, "`rope_type` is 'spiral', not one of default"),
    ({"rope_type": 5}, "`rope_type` is 5, not one of default"),
    ({"rope_type": ["yarn"]}, "`rope_type` is ['yarn'], not one of default"),
    ({"factor": "4"}, "`factor` is '4', not a number"),
    ({"factor": 0}, "`factor` is 0"),
    ({"factor": -4.0}, "`factor` is -4.0"),
    ({"factor": math.nan}, "`factor` is nan"),
    ({"rope_theta": 0}, "`rope_theta` is 0"),
    ({"rope_theta": -1e4}, "`rope_theta` is -10000.0"),
    ({"rope_theta": 1}, "`rope_theta` is 1"),
    ({"rope_theta": "1e4"}, "`rope_theta` is '1e4', not a number"),
    ({"original_max_position_embeddings": 0}, "`original_max_position_embeddings` is 0"),
    ({"original_max_position_embeddings": 12.5}, "`original_max_position_embeddings` is 12.5"),
    ({"beta_fast": -1}, "`beta_fast` is -1"),
    ({"truncate": 1}, "`truncate` is 1, not true or false"),
]


@pytest.mark.parametrize(("fields", "wanted"), BAD_ROPES, ids=lambda value: str(value)[:40])
def test_ropes_that_make_no_sense(fields: dict[str, Any], wanted: str) -> None:
    rope = LLAMA["rope_parameters"] | fields
    assert wanted in refusal(LLAMA | {"rope_parameters": rope})


@pytest.mark.parametrize("rope", [5, "yarn", [1]], ids=repr)
@pytest.mark.parametrize("name", ["rope_parameters", "rope_scaling"])
def test_a_rope_that_is_no_object(name: str, rope: object) -> None:
    assert f"`{name}` is {rope!r}, not an object" in refusal(LLAMA | {name: rope})


@pytest.mark.parametrize("missing", ["factor", "low_freq_factor", "high_freq_factor"])
def test_a_rope_that_lacks_a_field(missing: str) -> None:
    rope = {name: value for name, value in QWEN["rope_parameters"].items() if name != missing}
    assert f"lacks `{missing}`" in refusal(QWEN | {"rope_parameters": rope})


@pytest.mark.parametrize(
    "types",
    [
        ["full_attention"] * 2,
        ["full_attention"] * 4,
        [],
        "full",
        5,
        {"0": "full_attention"},
        ["full_attention", "full_attention", "linear_attention"],
        ["full_attention", "full_attention", ["full_attention"]],
        ["full_attention", "full_attention", None],
    ],
    ids=str,
)
def test_layer_types_that_do_not_fit(types: object) -> None:
    assert "`layer_types`" in refusal(QWEN | {"layer_types": types})


@pytest.mark.parametrize("value", ["1", -1, 1.5, [1], True], ids=repr)
def test_max_window_layers_is_a_count(value: object) -> None:
    config = QWEN | {"layer_types": None, "max_window_layers": value}
    assert f"`max_window_layers` is {value!r}" in refusal(config)


def windows(**changes: object) -> list[int | None]:
    return [layer.mixer.window for layer in read(QWEN | changes).layers]


def test_windows_as_transformers_reads_them() -> None:
    assert windows() == [None, 16, 16]
    assert windows(layer_types=None) == [None, 16, 16]
    assert windows(layer_types=None, max_window_layers=0) == [16, 16, 16]
    assert windows(layer_types=None, max_window_layers=28) == [None] * 3
    assert windows(layer_types=None, use_sliding_window=False) == [None] * 3
    assert windows(layer_types=None, sliding_window=None) == [None] * 3
    mistral = {name: value for name, value in LLAMA.items() if not name.endswith("_bias")}
    mistral["model_type"] = "mistral"
    assert read(mistral).layers[0].mixer.window == 4096
    assert read(mistral | {"sliding_window": None}).layers[0].mixer.window is None
    assert read(mistral | {"sliding_window": 9}).layers[0].mixer.window == 9


values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 200),
        st.sampled_from((10**30, 10**400, -(10**400))),
        st.floats(),
        st.text(max_size=4),
        st.sampled_from(("yarn", "dynamic", "longrope", "default", "sliding_attention", "gelu")),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(config=st.sampled_from((LLAMA, QWEN)), data=st.data())
def test_any_config_is_understood_or_refused(config: dict[str, Any], data: st.DataObject) -> None:
    """Never an exception of another kind, and never a spec that can't be built."""
    config = copy.deepcopy(config)
    for _ in range(data.draw(st.integers(1, 3))):
        inside = data.draw(st.booleans())
        place: Any = config["rope_parameters"] if inside else config
        if not isinstance(place, dict) or not place:
            continue
        names = sorted(set(place) - {"model_type", "num_hidden_layers"})
        place[data.draw(st.sampled_from(names))] = data.draw(values)
    json.dumps(config)
    try:
        spec = read(config)
    except ModelError as error:
        assert WHERE in error.message  # noqa: PT017
        return
    for layer in spec.layers:
        mixer = layer.mixer
        assert mixer.heads % mixer.kv_heads == 0
        assert mixer.rope is not None
        assert mixer.rope.width % 2 == 0
        assert mixer.rope.theta > 0


def test_ropes_that_cannot_be_computed() -> None:
    rope = dict(QWEN["rope_parameters"])
    assert "`high_freq_factor` is 1.0, not above" in refusal(
        QWEN | {"rope_parameters": rope | {"high_freq_factor": 1.0}}
    )
    narrow = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert "`rope_type` is 'dynamic'" in refusal(LLAMA | {"head_dim": 2, "rope_parameters": narrow})


def test_counts_beyond_reason_are_refused_at_once() -> None:
    assert "`num_hidden_layers` is 1000000000, not at most" in refusal(
        LLAMA | {"num_hidden_layers": 10**9}
    )


def test_an_encoder_beside_is_refused() -> None:
    assert "`is_encoder_decoder`" in refusal(LLAMA | {"is_encoder_decoder": True})
    # Cross-attention without an encoder does nothing, in transformers too.
    silent = {"is_encoder_decoder": False, "add_cross_attention": True, "pruned_heads": {}}
    assert read(LLAMA | silent) == read(LLAMA)
