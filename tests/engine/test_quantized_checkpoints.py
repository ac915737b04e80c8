"""Quantized checkpoints: written, loaded without the original, refused where they are damaged."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmtool import LmtoolError, ModelError, UsageError
from lmtool.engine.examine import Examination
from lmtool.engine.facts import checkpoint_facts
from lmtool.engine.loop import Loop
from lmtool.engine.quant.kinds import QUANTS, Quant
from lmtool.engine.quant.table import KINDS
from lmtool.engine.request import Outcome, Request, Sampling, Timings
from lmtool.engine.session import Session
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.load import load_decoder
from lmtool.engine.weights.save import save_quantized
from reference.cases import CASES
from reference.loaded import CPU, Loaded
from reference.random_checkpoints import Case, random_ids

DEFAULT = Path(__file__).resolve().parents[2] / "models" / "default"
CONFIG, SINGLE = "config.json", "model.safetensors"
IDS = random_ids(60)
TIED = Case("tied", "Llama", {"tie_word_embeddings": True})


def opened(folder: Path, quant: Quant | None = None, dtype: torch.dtype | None = None) -> Loaded:
    return Loaded(folder, load_decoder(open_checkpoint(folder), dtype, CPU, quant=quant)[0])


def logprobs(loaded: Loaded) -> Tensor:
    return loaded.logprobs(IDS, [20, 39, 1], loaded.cache())


def saved(source: Path, quant: Quant, folder: Path) -> Path:
    save_quantized(open_checkpoint(source), quant, folder)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TIED.save(tmp_path_factory.mktemp("tied"))


@pytest.fixture(scope="module")
def wholes(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("quantized")
    return {quant: saved(source, quant, folder / quant) for quant in QUANTS}


@pytest.fixture(params=QUANTS)
def folder(request: pytest.FixtureRequest, wholes: dict[str, Path], tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(wholes[request.param], tmp_path / "model"))


@pytest.mark.parametrize("quant", QUANTS)
def test_what_is_read_is_what_was_written(
    source: Path, wholes: dict[str, Path], quant: Quant
) -> None:
    """Quantized while loading or before, a model answers the same, in any dtype."""
    for dtype in (None, torch.bfloat16, torch.float16):
        got = logprobs(opened(wholes[quant], dtype=dtype))
        assert torch.equal(got, logprobs(opened(source, quant, dtype)))
    drift = (logprobs(opened(wholes[quant])) - logprobs(opened(source))).abs().mean()
    assert drift < {"int8": 0.2, "int4": 2.0}[quant]


@pytest.mark.parametrize("quant", QUANTS)
def test_the_tied_head_is_stored_once_and_norms_as_they_were(
    source: Path, wholes: dict[str, Path], quant: Quant
) -> None:
    tensors = load_file(wholes[quant] / SINGLE)
    assert tensors["embed.weight"].dtype == torch.int8
    assert not any(name.startswith("head") for name in tensors)
    before = load_file(source / SINGLE)
    name = "model.layers.1.input_layernorm.weight"
    assert torch.equal(tensors["layers.1.mixer_norm.weight"], before[name])
    weight = before["model.layers.2.mlp.down_proj.weight"]
    for suffix, part in KINDS[quant].quantize(weight).parts().items():
        assert torch.equal(tensors[f"layers.2.feed.down.weight{suffix}"], part)


def test_a_head_of_its_own_though_the_config_ties_it(source: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "untied"))
    weights = load_file(copy / SINGLE)
    weights["lm_head.weight"] = torch.randn_like(weights["model.embed_tokens.weight"])
    save_file(weights, copy / SINGLE, metadata={"format": "pt"})
    made = saved(copy, "int8", tmp_path / "made")
    assert "head.weight.scale" in load_file(made / SINGLE)
    assert torch.equal(logprobs(opened(made)), logprobs(opened(copy, "int8")))
    assert not Examination(made).failed


def test_facts_and_examination_know_what_it_is(folder: Path, source: Path) -> None:
    facts, before = checkpoint_facts(folder), checkpoint_facts(source)
    quant = facts["quant"]
    assert quant in QUANTS
    assert before["quant"] is None
    assert facts["dtype"] == before["dtype"] == "float32"
    assert facts["parameters"] == before["parameters"]
    assert facts["memory"]["weights"] < before["memory"]["weights"] / 2
    _, reader = load_decoder(open_checkpoint(folder), None, CPU)
    assert facts["memory"]["weights"] == reader.nbytes
    examination = Examination(folder)
    assert not examination.failed
    assert examination.findings[0].message.endswith(f"quantized to {quant}")


def test_the_session_names_it(folder: Path, source: Path) -> None:
    quant = checkpoint_facts(folder)["quant"]
    assert Session.load(folder).card.quant == quant
    assert Session.load(folder, quant=quant).card.quant == quant
    assert Session.load(source, quant=quant).card.quant == quant
    assert Session.load(source).card.quant is None
    other = next(one for one in QUANTS if one != quant)
    with pytest.raises(UsageError, match=f"is quantized to {quant} already, not to {other}"):
        Session.load(folder, quant=other)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_family_answers_the_same_from_either(case: Case, tmp_path: Path) -> None:
    """Cuts, transposes and fusions of a family's own are done once, before it is written."""
    source = case.save(tmp_path / "source")
    exact = logprobs(opened(source))
    drifts: list[float] = []
    for quant in QUANTS:
        made = saved(source, quant, tmp_path / quant)
        got = logprobs(opened(source, quant))
        assert torch.equal(logprobs(opened(made)), got)
        assert not Examination(made).failed
        drifts.append(float((got - exact).abs().mean(-1).median()))
    # Random weights forgive less than trained ones, and a router's near tie sends a token astray.
    assert drifts[0] < 0.4
    assert drifts[0] < drifts[1] < 4


def refusal(folder: Path) -> str:
    """The one line that loading and examining refuse a folder with, its path written FOLDER."""
    with pytest.raises(ModelError) as caught:
        opened(folder)
    message = caught.value.message
    assert "\n" not in message
    found = [f.message for f in Examination(folder).findings if f.level == "error"]
    assert message in found
    return message.replace(str(folder), "FOLDER")


def described(folder: Path, **fields: Any) -> None:
    """Change fields of quantization_config, or with ... take them out."""
    config = json.loads((folder / CONFIG).read_text())
    changed = config["quantization_config"] | fields
    config["quantization_config"] = {k: v for k, v in changed.items() if v is not ...}
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"bits": 3}, "`bits` is 3, not 4 or 8"),
        ({"bits": "8"}, "`bits` is '8', not a whole number above zero"),
        ({"bits": ...}, "lacks `bits`"),
        ({"group_size": 7}, "`group_size` is 7, not "),
        ({"format": 2}, "`format` is 2, not 1, the only one that this lmtool reads"),
        ({"dtype": "int8"}, "`dtype` is 'int8', not one of float32, bfloat16, float16"),
        ({"bits_by_part": {"embed": 2}}, "`bits_by_part` is {'embed': 2}, not "),
        ({"act_order": True}, "has a field lmtool doesn't understand: `act_order`: True"),
    ],
    ids=str,
)
def test_a_description_that_makes_no_sense(folder: Path, fields: dict[str, Any], said: str) -> None:
    described(folder, **fields)
    message = refusal(folder)
    assert message.startswith("`FOLDER/config.json`: quantization_config")
    assert said in message


def test_another_method_is_refused_as_ever(folder: Path) -> None:
    described(folder, quant_method="gptq")
    assert "has a field lmtool doesn't understand: `quantization_config`" in refusal(folder)


def test_bits_that_the_weights_do_not_have(wholes: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(wholes["int8"], tmp_path / "model"))
    described(folder, **json.loads((wholes["int4"] / CONFIG).read_text())["quantization_config"])
    assert "`layers.0.mixer.q.weight` is stored as I8, but config.json implies U8" in refusal(
        folder
    )


def changed(folder: Path, **tensors: Tensor | None) -> None:
    """Change stored tensors by name, or with None leave them out; `__` stands for a dot."""
    held = load_file(folder / SINGLE)
    for name, tensor in tensors.items():
        name = name.replace("__", ".")
        if tensor is None:
            del held[name]
        else:
            held[name] = tensor
    save_file(held, folder / SINGLE)


def test_parts_that_are_missing_misshapen_or_too_many(folder: Path) -> None:
    held = load_file(folder / SINGLE)
    name = "layers__1__feed__up__weight"
    scales = held["layers.1.feed.up.weight.scale"]
    changed(folder, **{f"{name}__scale": None})
    assert refusal(folder) == "`FOLDER` lacks the weight `layers.1.feed.up.weight.scale`"
    changed(folder, **{f"{name}__scale": scales[1:].contiguous()})
    assert "`layers.1.feed.up.weight.scale` has shape [79" in refusal(folder)
    changed(folder, **{f"{name}__scale": scales.float()})
    assert "is stored as F32, but config.json implies BF16" in refusal(folder)
    changed(folder, **{f"{name}__scale": scales, "embed__weight__scale": None})
    assert refusal(folder) == "`FOLDER` lacks the weight `embed.weight.scale`"
    embed = held["embed.weight.scale"]
    changed(folder, embed__weight__scale=embed, embed__weight__extra=torch.ones(1))
    assert "holds 1 weights that its config.json has no place for" in refusal(folder)


def test_a_file_cut_short(folder: Path) -> None:
    data = (folder / SINGLE).read_bytes()
    (folder / SINGLE).write_bytes(data[:-10])
    assert "is cut short" in refusal(folder)


def test_damaged_scales_are_noticed_when_they_matter(folder: Path) -> None:
    scales = load_file(folder / SINGLE)["layers.1.feed.down.weight.scale"]
    scales.view(-1)[0] = float("nan")
    changed(folder, layers__1__feed__down__weight__scale=scales)
    loop = Loop(opened(folder).decoder, [Request((1, 2, 3), 5)], 100, Timings())
    with pytest.raises(ModelError, match="the model's logits are not numbers"):
        list(loop.run())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_not_quantized(
    source: Path, tmp_path: Path, value: float
) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "broken"))
    weights = load_file(copy / SINGLE)
    weights["model.layers.1.mlp.down_proj.weight"][7, 7] = value
    save_file(weights, copy / SINGLE, metadata={"format": "pt"})
    said = re.escape("layers.1.feed.down.weight holds numbers that are not finite")
    for quant in QUANTS:
        with pytest.raises(ModelError, match=said):
            opened(copy, quant)
        with pytest.raises(ModelError, match=said):
            saved(copy, quant, tmp_path / "made")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken"]


def test_what_goes_with_the_weights(source: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "LICENSE")
    for name in names:
        (copy / name).write_text(name)
    for name in ("optimizer.pt", "training_args.bin", "pytorch_model.bin"):
        (copy / name).write_text(name)
    made = saved(copy, "int8", tmp_path / "a" / "b")
    found = {path.name for path in made.iterdir()}
    assert found == {CONFIG, SINGLE, "generation_config.json", *names}
    assert (made / "LICENSE").read_text() == "LICENSE"


def test_there_whole_or_not_at_all(source: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert 0 < done <= total
        if done > total / 2:
            raise KeyboardInterrupt

    target = tmp_path / "made"
    with pytest.raises(KeyboardInterrupt):
        save_quantized(open_checkpoint(source), "int8", target, stop)
    assert list(tmp_path.iterdir()) == []
    target.mkdir()
    saved(source, "int8", target)
    assert oct(target.stat().st_mode) == oct((tmp_path / "x").parent.stat().st_mode | 0o055)
    with pytest.raises(LmtoolError, match="cannot write"):
        saved(source, "int8", target)
    with pytest.raises(ModelError, match="is quantized already, to int8"):
        saved(target, "int4", tmp_path / "again")


def sampled() -> Iterator[tuple[int, ...]]:
    """Texts by the default model itself: those that it would predict best if it kept all bits."""
    session = Session.load(DEFAULT)
    assert session.tokenizer is not None
    prompts = ("Once upon a time", "The old", "ある日", "「")
    asked = [
        Request(tuple(session.tokenizer.encode(prompt)), 500, Sampling(temperature=1.0, seed=seed))
        for seed, prompt in enumerate(prompts)
    ]
    for event in session.stream(asked):
        if isinstance(event, Outcome):
            yield (*asked[event.request].ids, *(token.id for token in event.samples[0]))


def test_what_it_costs_the_default_model() -> None:
    """benchmarks/quantization.py measures 100,000 tokens of people's texts; here it is a glance."""
    texts = list(sampled())
    losses: dict[str | None, float] = {}
    for quant in (None, *QUANTS):
        loaded = opened(DEFAULT, quant)
        total = torch.zeros(())
        for ids in texts:
            found = loaded.logprobs(list(ids), [len(ids)], loaded.cache())[:-1]
            total -= found.gather(-1, torch.tensor(ids[1:])[:, None]).mean() / len(texts)
        losses[quant] = float(total)
    assert losses["int8"] - losses[None] < 0.005
    assert losses["int4"] - losses[None] < 0.04
