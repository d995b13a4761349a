"""Configurations of language models: what is read, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.catalog.catalog import load_catalog
from dse.catalog.hf_checkpoint import named_active, named_count
from dse.catalog.hf_families import families
from dse.catalog.hf_import import Imported, import_llm
from dse.catalog.llm import read_llm
from dse.catalog.transformer import Transformer, transformer
from dse.core.errors import DataError

LLAMA: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}

JAMBA: Mapping[str, Any] = {
    "model_type": "jamba",
    "attn_layer_offset": 4,
    "attn_layer_period": 8,
    "expert_layer_offset": 1,
    "expert_layer_period": 2,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "mamba_d_conv": 4,
    "mamba_d_state": 16,
    "mamba_dt_rank": 256,
    "mamba_expand": 2,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_experts": 16,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 32,
    "vocab_size": 65536,
    "max_position_embeddings": 262144,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}

MOE: Mapping[str, Any] = {
    **LLAMA,
    "model_type": "qwen3_moe",
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "head_dim": 128,
}


def made(folder: Path, config: Mapping[str, Any], name: str | None = "mine", **more: Any) -> Imported:
    (folder / "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
    return import_llm(folder / "config.json", name, **more)


def counted(folder: Path, config: Mapping[str, Any]) -> Transformer:
    return transformer(made(folder, config).entry)


def test_an_entry_reads_back_as_it_was_imported(tmp_path: Path) -> None:
    found = made(tmp_path, JAMBA)
    again = read_llm(found.text, "mine.toml")
    assert again == found.entry
    assert transformer(again) == transformer(found.entry)


@pytest.mark.parametrize("config", [LLAMA, JAMBA, MOE], ids=["dense", "hybrid", "experts"])
def test_a_mutated_key_is_refused_by_name(config: Mapping[str, Any], tmp_path: Path) -> None:
    for key in config:
        if key in {"model_type", "architectures", "torch_dtype"}:
            continue
        wrong = {("x_" + k if k == key else k): v for k, v in config.items()}
        try:
            found = made(tmp_path, wrong)
        except DataError as error:
            assert f"x_{key}" in str(error) or key in str(error)
        else:  # a key that is false says nothing
            assert config[key] is False, key
            assert not found.unverified


def test_an_unknown_key_is_taken_by_word_and_marks_the_entry(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a_new_key = 7"):
        made(tmp_path, {**LLAMA, "a_new_key": 7})
    found = made(tmp_path, {**LLAMA, "a_new_key": 7}, accept_unknown=True)
    assert found.unverified == ("a_new_key = 7",)
    assert found.entry.unverified == found.unverified


def test_an_unknown_family_is_refused_and_read_as_another_on_request(tmp_path: Path) -> None:
    config = {**LLAMA, "model_type": "lama"}
    with pytest.raises(DataError, match="did you mean 'llama'"):
        made(tmp_path, config)
    found = made(tmp_path, config, family="llama")
    assert "read as family llama" in found.entry.unverified[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "t5", "is_encoder_decoder": True}, "encoder-decoder"),
        ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, "generates no tokens"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "generates no tokens"),
        ({"architectures": ["Qwen2ForCausalLM"]}, "read their keys in different ways"),
        ({"model_type": "bert"}, "encoder"),
        ({"model_type": "mamba2"}, "attention-free"),
        ({"hidden_act": "wobble"}, 'hidden_act: got "wobble"'),
        ({"num_key_value_heads": 5}, "divisor of the 32 query heads"),
        ({"num_hidden_layers": "many"}, 'num_hidden_layers: got "many"'),
        ({"n_layer": 24}, "num_hidden_layers = 32 and n_layer = 24 contradict"),
        ({"layer_types": ["mamba"] * 32}, "linear"),
        ({"layer_types": ["full_attention"] * 3}, "each of the 32 layers"),
        ({"layer_types": ["mystery"] * 32}, "'mystery'"),
        ({"quantization_config": {"quant_method": "magic"}}, "magic"),
        ({"torch_dtype": "float128"}, "torch_dtype"),
    ],
)
def test_what_is_not_modelled_is_refused_by_what_it_is(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as error:
        made(tmp_path, {**LLAMA, **change})
    assert message in str(error.value)


def test_a_hybrid_that_does_not_say_which_layers_attend_is_refused(tmp_path: Path) -> None:
    named = {"mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_head": 64}
    config = {k: v for k, v in JAMBA.items() if not k.startswith(("attn_layer", "expert_layer"))} | named
    config["model_type"] = "granitemoehybrid"
    with pytest.raises(DataError, match="which layers attend"):
        made(tmp_path, config)


def test_layers_named_in_two_ways_must_agree(tmp_path: Path) -> None:
    kinds = ["mamba"] * 32
    with pytest.raises(DataError, match="contradict"):
        made(tmp_path, {**JAMBA, "layers_block_type": kinds})
    kinds = ["attention" if i % 8 == 4 else "mamba" for i in range(32)]
    assert counted(tmp_path, {**JAMBA, "layers_block_type": kinds}) == counted(tmp_path, JAMBA)


def test_a_folder_a_byte_order_mark_and_a_hub_cache_are_read(tmp_path: Path) -> None:
    plain = made(tmp_path, LLAMA)
    assert import_llm(tmp_path, "mine").entry == plain.entry
    (tmp_path / "config.json").write_text(json.dumps(dict(LLAMA)), encoding="utf-8-sig")
    assert import_llm(tmp_path / "config.json", "mine").entry == plain.entry
    cache = tmp_path / "models--organisation--Some-Model-8B"
    snapshot = cache / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(dict(LLAMA)))
    assert import_llm(cache).entry.name == "Some-Model-8B"
    (cache / "snapshots" / "4567def").mkdir()
    (cache / "snapshots" / "4567def" / "config.json").write_text(json.dumps(dict(LLAMA)))
    with pytest.raises(DataError, match="2 snapshots"):
        import_llm(cache)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123abc\n")
    assert import_llm(cache).entry.name == "Some-Model-8B"


def index(folder: Path, **metadata: float) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": metadata, "weight_map": {}}))


def test_a_count_in_the_index_is_held_against_the_configuration(tmp_path: Path) -> None:
    parameters = transformer(made(tmp_path, LLAMA).entry).parameters
    index(tmp_path, total_size=2 * parameters)
    made(tmp_path, LLAMA)
    index(tmp_path, total_size=2 * parameters * 1.03)
    with pytest.raises(DataError, match=r"-2\.9 %"):
        made(tmp_path, LLAMA)
    index(tmp_path, total_parameters=parameters * 0.9)
    with pytest.raises(DataError, match="at most 2 %"):
        made(tmp_path, LLAMA)


def test_formats_scales_and_drafts_enter_the_comparison(tmp_path: Path) -> None:
    gptq = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}}
    t = transformer(made(tmp_path, {**LLAMA, **gptq}).entry)
    converted = t.attention + t.ffn
    index(tmp_path, total_size=converted * 4.5 / 8 + (t.parameters - converted) * 2)
    assert made(tmp_path, {**LLAMA, **gptq}).entry.precision == "int4"
    (tmp_path / "model.safetensors.index.json").unlink()
    deep = {**MOE, "num_nextn_predict_layers": 1}
    deep["model_type"] = "glm4_moe"
    deep["n_routed_experts"] = deep.pop("num_experts")
    t = transformer(made(tmp_path, deep).entry)
    layer = (t.attention + t.ffn + t.expert * t.experts) / 32
    index(tmp_path, total_parameters=t.parameters + layer)
    made(tmp_path, deep)


@pytest.mark.parametrize(
    ("name", "warns", "refused"), [("x-8B", 0, 0), ("x-7B", 0, 0), ("x-6.7B", 1, 0), ("x-13B", 0, 1)]
)
def test_a_name_that_states_a_count_warns_or_refuses(
    name: str, warns: int, refused: int, tmp_path: Path
) -> None:
    if refused:
        with pytest.raises(DataError, match="13 G parameters"):
            made(tmp_path, LLAMA, name)
    else:
        assert len(made(tmp_path, LLAMA, name).warnings) == warns


def test_parameters_a_token_in_a_name_are_compared(tmp_path: Path) -> None:
    t = transformer(made(tmp_path, MOE).entry)
    whole, active = t.parameters / 1e9, t.active / 1e9
    assert not made(tmp_path, MOE, f"x-{whole:.0f}B-A{active:.1f}B").warnings
    (warning,) = made(tmp_path, MOE, f"x-{whole:.0f}B-A{1.25 * active:.1f}B").warnings
    assert "parameters a token" in warning
    with pytest.raises(DataError, match="parameters a token"):
        made(tmp_path, MOE, f"x-{whole:.0f}B-A{3 * active:.1f}B")


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"quant_method": "fp8"}, {"ffn": "fp8", "attention": "fp8", "head": "bf16"}),
        ({"quant_method": "awq", "bits": 4}, {"ffn": "int4", "attention": "int4", "head": "bf16"}),
        ({"quant_method": "gptq", "bits": 8}, {"ffn": "int8"}),
        ({"quant_method": "gptq", "bits": 3}, {"ffn": "int3"}),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, {"ffn": "nf4"}),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, {"ffn": "int8"}),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["*self_attn*", "lm_head"]},
         {"experts": "nvfp4", "attention": "bf16"}),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}, {"ffn": "fp8", "kv_cache": "fp8"}),
        ({"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]},
         {"experts": "mxfp4", "attention": "bf16", "ffn": "bf16"}),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"},
          "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}}},
         {"ffn": "fp8", "kv_cache": "fp8"}),
        ({"quant_method": "compressed-tensors", "ignore": ["re:.*self_attn.*", "lm_head"], "config_groups": {"group_0": {
            "targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "group_size": 32}}}},
         {"experts": "int4", "attention": "bf16"}),
        ({"quant_method": "compressed-tensors", "config_groups": {
            "group_0": {"targets": ["re:.*mlp.experts.*"], "weights": {"num_bits": 4, "type": "float", "group_size": 16}},
            "group_1": {"targets": ["re:.*self_attn.*"], "weights": {"num_bits": 8, "type": "float"}}}},
         {"experts": "nvfp4", "attention": "fp8", "head": "bf16"}),
        ({"quant_algo": "MIXED_PRECISION", "quantized_layers": {
            **{f"model.layers.{i}.mlp.experts.{e}.{m}_proj": {"quant_algo": "NVFP4"}
               for i in range(32) for e in range(MOE["num_experts"]) for m in ("gate", "up", "down")},
            **{f"model.layers.{i}.self_attn.{m}_proj": {"quant_algo": "FP8"} for i in range(32) for m in "qkvo"}}},
         {"experts": "nvfp4", "attention": "fp8", "head": "bf16"}),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {
            "targets": ["re:.*mlp.*(gate|up|down)_proj$"], "weights": {"num_bits": 4, "type": "int"}}}},
         {"experts": "int4", "attention": "bf16"}),
        ({"quant_method": "compressed-tensors", "ignore": ["re:^(?!.*experts).*"], "config_groups": {"g": {
            "targets": ["Linear"], "weights": {"num_bits": 8, "type": "float"}}}},
         {"experts": "fp8", "attention": "bf16"}),
        ({"quant_method": "fp8", "modules_to_not_convert": [f"model.layers.{i}.mlp.experts.0" for i in range(32)]},
         {"experts": "fp8"}),
        ({"quant_method": "gptq", "bits": 4, "dynamic": {"-:.*mlp.gate.*": {}}}, {"experts": "int4", "attention": "int4"}),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4"}}, "exclude": ["lm_head"]}, {"experts": "mxfp4"}),
    ],
)  # fmt: skip
def test_formats_by_class(block: dict[str, Any], expected: dict[str, str], tmp_path: Path) -> None:
    entry = made(tmp_path, {**MOE, "quantization_config": block}).entry
    assert {name: entry.format_of(name) for name in expected} == expected


def test_a_format_file_beside_the_configuration_is_read(tmp_path: Path) -> None:
    (tmp_path / "hf_quant_config.json").write_text(
        json.dumps({"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}})
    )
    entry = made(tmp_path, LLAMA).entry
    assert (entry.format_of("ffn"), entry.format_of("kv_cache"), entry.format_of("head")) == (
        "fp8",
        "fp8",
        "bf16",
    )


def test_a_window_keeps_no_more_than_it_is_wide(tmp_path: Path) -> None:
    windowed = {**LLAMA, "sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"] * 16}
    t, full = counted(tmp_path, windowed), counted(tmp_path, LLAMA)
    assert t.parameters == full.parameters
    assert t.held_bytes(512, 16) == full.held_bytes(512, 16)
    assert t.held_bytes(100_512, 16) - t.held_bytes(512, 16) == pytest.approx(
        (full.held_bytes(100_512, 16) - full.held_bytes(512, 16)) / 2
    )


def test_layers_that_reuse_a_cache_hold_less_and_read_as_much(tmp_path: Path) -> None:
    base = {
        **LLAMA,
        "model_type": "gemma4_text",
        "head_dim": 128,
        "hidden_activation": "gelu_pytorch_tanh",
        "layer_types": ["full_attention"] * 32,
    }
    base.pop("hidden_act")
    whole, shared = counted(tmp_path, base), counted(tmp_path, base | {"num_kv_shared_layers": 16})
    assert shared.held_bytes(1000, 16) == whole.held_bytes(1000, 16) / 2
    assert shared.read_bytes(1000, 16) == whole.read_bytes(1000, 16)
    assert shared.attention < whole.attention


def test_compressed_entries_grow_once_in_so_many_tokens(tmp_path: Path) -> None:
    """DeepSeek-V4-Flash by hand: 21 layers keep 1 of 4 positions and an index key, 20 keep 1 of 128."""
    file = json.loads((Path(__file__).parent / "cases" / "01-deepseek-v4-flash" / "config.json").read_text())
    t = counted(tmp_path, file)
    grown = t.held_bytes(128_000, 16) / 128_000
    assert grown == pytest.approx(2 * (21 * (512 + 128) / 4 + 20 * 512 / 128))
    assert t.read_bytes(1_000_000, 16) < t.held_bytes(1_000_000, 16)


@settings(max_examples=60, deadline=None)
@given(
    layers=st.integers(1, 12),
    heads=st.sampled_from([1, 2, 4, 8]),
    group=st.sampled_from([1, 2, 4]),
    hidden=st.sampled_from([64, 128, 256]),
    width=st.integers(1, 512),
    vocab=st.integers(8, 1000),
    tied=st.booleans(),
)
def test_a_dense_decoder_is_the_sum_of_its_matrices(
    tmp_path_factory: pytest.TempPathFactory,
    layers: int,
    heads: int,
    group: int,
    hidden: int,
    width: int,
    vocab: int,
    *,
    tied: bool,
) -> None:
    queries = heads * group
    config = {
        **LLAMA,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": queries,
        "num_key_value_heads": heads,
        "head_dim": 16,
        "intermediate_size": width,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
    }
    t = counted(tmp_path_factory.mktemp("c"), config)
    each = 2 * hidden * 16 * (queries + heads) + 3 * hidden * width + 2 * hidden
    assert t.parameters == layers * each + hidden + vocab * hidden * (1 if tied else 2)
    assert t.kv_bytes_per_token(16) == layers * 2 * heads * 16 * 2


def test_every_family_says_where_it_comes_from_or_is_of_the_package() -> None:
    """Families outside of the package that the table was checked against name their source."""
    for name, family in families().items():
        assert family.refused or family.defaults is not None or family.source, name


def test_catalogued_models_give_their_formats() -> None:
    c = load_catalog()
    oss = c.llm("gpt-oss-120b")
    assert (oss.format_of("experts"), oss.format_of("attention"), oss.format_of("head")) == (
        "mxfp4",
        "bf16",
        "bf16",
    )


DENSE: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
    "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_hidden_layers": 1_000_000_000}, "num_hidden_layers"),
        ({"architectures": 5}, "config.json"),
        ({"per_layer_config": {"²": {}}}, "config.json"),
        ({"tie_word_embeddings": None, "tie_word_embedding": False}, "did you mean tie_word_embeddings"),
        ({"model_type": "qwen3_moe", "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
          "decoder_sparse_step": 0}, "decoder_sparse_step"),
        ({"pruned_heads": {"0": [1, 2]}}, "pruned_heads"),
        ({"add_cross_attention": True}, "add_cross_attention"),
    ],
)  # fmt: skip
def test_what_no_such_model_has_is_refused_in_words(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    """Sizes without end, values of another kind, keys that are misspelt where they say no."""
    raw = {k: v for k, v in (DENSE | change).items() if v is not None}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(DataError, match=said):
        import_llm(tmp_path / "config.json", "x")


def test_a_stated_count_is_compared(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(DENSE | {"num_parameters": 8_030_261_248}))
    import_llm(tmp_path / "config.json", "x")
    (tmp_path / "config.json").write_text(json.dumps(DENSE | {"num_parameters": 9_000_000_000}))
    with pytest.raises(DataError, match="num_parameters"):
        import_llm(tmp_path / "config.json", "x")


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_skip_modules": ["mlp", "lm_head"]},
         {"ffn": "bf16", "attention": "int8"}),
        ({"quant_method": "gptq", "bits": 4, "dynamic": {"-:.*mlp.*": {}}}, {"ffn": "bf16", "attention": "int4"}),
        ({"quant_method": "gptq", "bits": 4, "lm_head": True}, {"ffn": "int4", "head": "int4"}),
        ({"quant_method": "fp8", "modules_to_not_convert": [f"model.layers.{i}.self_attn" for i in range(32)]},
         {"ffn": "fp8", "attention": "bf16"}),
        ({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0.mlp", "model.layers.31.mlp"]},
         {"ffn": "fp8"}),
        ({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0.mlp.gate", "re:.*mlp.gate$", "visual"]},
         {"ffn": "fp8", "experts": "fp8"}),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:.*mlp\\.(gate|up|gate_up|down)_proj.*"]},
         {"ffn": "bf16", "attention": "fp8"}),
        ({"quant_method": "gptq", "bits": "4", "dynamic": {"+:.*mlp.*": {"bits": 8}}}, {"ffn": "int8", "attention": "int4"}),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {
            "targets": ["re:.*(q|k|v|o|gate|up|down)_proj"], "weights": {"num_bits": 4, "type": "int"}}}},
         {"ffn": "int4", "attention": "int4", "head": "bf16"}),
        ({"quant_method": "compressed-tensors", "config_groups": {
            "a": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int"}},
            "b": {"targets": ["lm_head", "model.embed_tokens"], "weights": {"num_bits": 8, "type": "int"}}}},
         {"ffn": "int4", "attention": "int4", "head": "int8"}),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4"}}, "layer_quant_config":
          {"*self_attn*": {"weight": {"dtype": "fp8_e4m3"}}}, "exclude": ["lm_head"]},
         {"ffn": "mxfp4", "attention": "fp8"}),
        ({"quant_method": "quark", "global_quant_config": {"weight": [{"dtype": "fp8_e4m3"}, {"dtype": "int4"}]},
          "kv_cache_quant_config": {"*k_proj": {"output_tensors": {"dtype": "fp8_e4m3"}}}},
         {"ffn": "int4", "kv_cache": "fp8"}),
        ({"quant_method": "auto-round", "bits": 2, "extra_config": {".*self_attn.*": {"bits": 16}}},
         {"ffn": "int2", "attention": "bf16"}),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig", "_data": {}}},
          "modules_to_not_convert": ["self_attn"]}, {"ffn": "int8", "attention": "bf16"}),
        ({"quant_method": "torchao", "quant_type": {"default": {"_data": {"weight_dtype": {"_data": "int2", "_type":
          "torch.dtype"}}, "_type": "Int8DynamicActivationIntxWeightConfig"}}}, {"ffn": "int2"}),
        ({"bits": 4, "group_size": 32, "mode": "mxfp4"}, {"ffn": "mxfp4", "head": "mxfp4"}),
        ({"bits": 4, "group_size": 64, "lm_head": {"bits": 8, "group_size": 64}}, {"ffn": "int4", "head": "int8"}),
    ],
)  # fmt: skip
def test_modules_that_stay_are_counted_as_they_are(
    block: dict[str, Any], expected: dict[str, str], tmp_path: Path
) -> None:
    entry = made(tmp_path, {**LLAMA, "quantization_config": block}).entry
    assert {name: entry.format_of(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"quant_method": "fp8", "modules_to_not_convert": [f"model.layers.{i}" for i in range(16)]},
         "50 % in bf16 and 50 % in fp8"),
        ({"quant_method": "fp8", "modules_to_not_convert": [f"model.layers.{i}.mlp.down_proj" for i in range(32)]},
         "ffn: 33 % in bf16 and 67 % in fp8"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {
            "targets": [f"model.layers.{i}.mlp.{m}_proj" for i in range(16) for m in ("gate", "up", "down")],
            "weights": {"num_bits": 8, "type": "float"}}}}, "ffn: 50 % in bf16 and 50 % in fp8"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {
            "targets": ["re:.*mpl.*"], "weights": {"num_bits": 8, "type": "float"}}}}, "means no matrix"),
        ({"quant_method": "fp8", "modules_to_not_convert": ["re:*("]}, "no regular expression"),
        ({"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse"),
        ({"quant_method": "fp8", "modules_to_not_converted": ["mlp"]}, "did you mean modules_to_not_convert"),
        ({"quant_method": "fp8", "ignor": ["mlp"]}, "did you mean ignore"),
        ({"quant_method": "fp8", "ignore": "mlp"}, "expected a list"),
    ],
)  # fmt: skip
def test_a_class_in_two_formats_is_refused(block: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        made(tmp_path, {**LLAMA, "quantization_config": block})


def test_experts_that_stay_are_counted_as_they_are(tmp_path: Path) -> None:
    block = {"quant_method": "fp8", "modules_to_not_convert": ["re:.*\\.experts\\..*"]}
    entry = made(tmp_path, {**MOE, "quantization_config": block}).entry
    assert (entry.format_of("experts"), entry.format_of("attention")) == ("bf16", "fp8")


def test_two_files_that_disagree_on_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))
    assert (
        made(tmp_path, {**LLAMA, "quantization_config": {"quant_method": "fp8"}}).entry.format_of("ffn")
        == "fp8"
    )
    with pytest.raises(DataError, match="by quantization_config"):
        made(tmp_path, {**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4}})


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (DENSE | {"num_local_experts": 8, "num_experts_per_tok": 2}, "have no experts"),
        (DENSE | {"padded_vocab_size": 100}, "at least vocab_size, 128256"),
        ({"model_type": "llava", "sliding_window": 4096, "text_config": DENSE}, "stands outside"),
    ],
)
def test_places_of_a_file_that_say_otherwise_are_refused(
    raw: dict[str, Any], said: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(DataError, match=said):
        import_llm(tmp_path / "config.json", "x")


@pytest.mark.parametrize(
    ("name", "count", "active"),
    [
        ("Qwen-1_8B", 1.8e9, None),
        ("bloom-1b7", 1.7e9, None),
        ("OLMoE-1B-7B-0924", 7e9, None),
        ("Llama-4-Scout-17B-16E-Instruct", None, None),
        ("Mixtral-8x7B-v0.1", None, None),
        ("Qwen3-30B-A3B", 30e9, 3e9),
        ("TinyLlama-1.1B-intermediate-step-1431k-3T", 1.1e9, None),
        ("Ling-1T", 1e12, None),
        ("SmolLM2-360M", 360e6, None),
        ("41b61a33a248", None, None),
    ],
)
def test_counts_that_names_state(name: str, count: float | None, active: float | None) -> None:
    assert (named_count(name), named_active(name)) == (count, active)


def test_a_file_of_a_hubs_cache_that_is_a_link_has_the_models_name(tmp_path: Path) -> None:
    model = tmp_path / "models--mistralai--Mistral-7B-v0.2"
    (model / "blobs").mkdir(parents=True)
    (model / "snapshots" / "41b61a33a248").mkdir(parents=True)
    (model / "blobs" / "9d6ba2").write_text(json.dumps({**LLAMA, "vocab_size": 32000}))
    (model / "snapshots" / "41b61a33a248" / "config.json").symlink_to(model / "blobs" / "9d6ba2")
    assert import_llm(model).entry.name == "Mistral-7B-v0.2"


@pytest.mark.parametrize(
    "books",
    [
        {"unsloth_fixed": True, "unsloth_version": "2024.9"},
        {"_attn_implementation_autoset": True},
        {"transformers.js_config": {"dtype": "q4"}},
        {"gradient_checkpointing": [False]},
    ],
)
def test_what_tools_write_for_themselves_changes_nothing(books: dict[str, Any], tmp_path: Path) -> None:
    assert not made(tmp_path, {**LLAMA, **books}).unverified


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_gated_activation": False}, "use_gated_activation: got false, expected true"),
        ({"layer_types": ["full_attention"] * 48}, "each of the 32 layers"),
    ],
)
def test_a_key_that_says_otherwise_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        made(tmp_path, {**LLAMA, **change})


def test_a_pattern_of_layers_beyond_its_period_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expert_layer_offset: got 2, expected below expert_layer_period, 2"):
        made(tmp_path, {**JAMBA, "expert_layer_offset": 2})


def test_a_hybrid_without_experts_has_its_shared_block_alone(tmp_path: Path) -> None:
    """Granite 4.0 Micro: 40 attention layers, blocks of 8,192; 3.40 billion parameters by the released class."""
    config = {
        "model_type": "granitemoehybrid", "hidden_size": 2560, "intermediate_size": 512, "shared_intermediate_size": 8192,
        "num_hidden_layers": 40, "layer_types": ["attention"] * 40, "num_attention_heads": 40, "num_key_value_heads": 8,
        "num_local_experts": 0, "num_experts_per_tok": 0, "mamba_d_head": "auto", "mamba_d_state": 256, "vocab_size": 100352,
        "max_position_embeddings": 131072, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "hidden_act": "silu",
    }  # fmt: skip
    t = transformer(made(tmp_path, config).entry)
    assert t.parameters == pytest.approx(3.40283648e9, rel=1e-6)
    assert t.kv_bytes_per_token(16) == 40 * 8 * 64 * 2 * 2


def test_a_checkpoint_in_float32_or_with_scales_quantised_again_agrees_with_its_index(tmp_path: Path) -> None:
    wide = {**LLAMA, "torch_dtype": "float32"}
    parameters = transformer(made(tmp_path, wide).entry).parameters
    index(tmp_path, total_size=4 * parameters)
    made(tmp_path, wide)
    block = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}
    (tmp_path / "n").mkdir()
    t = transformer(made(tmp_path / "n", LLAMA).entry)
    bits = 4 + 8 / 64 + 32 / (64 * 256)
    index(
        tmp_path / "n", total_size=(t.attention + t.ffn) * bits / 8 + (t.parameters - t.attention - t.ffn) * 2
    )
    made(tmp_path / "n", {**LLAMA, "quantization_config": block})


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"quant_method": "fp8", "modules_to_not_convert": [
            f"model.visual.blocks.{i}.{m}" for i in range(32) for m in ("attn.qkv", "attn.proj", "mlp.linear_fc1")]},
         {"attention": "fp8", "ffn": "fp8"}),
        ({"quant_method": "fp8", "modules_to_not_convert": ["mtp.layers.0.self_attn.q_proj"]}, {"attention": "fp8"}),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4"}}, "exclude": ["*.self_attn.*"]},
         {"attention": "bf16", "ffn": "mxfp4"}),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": ["model.layers.*.mlp.gate", "lm_head"]},
         {"attention": "nvfp4", "ffn": "nvfp4"}),
        ({"quant_method": "gptq", "bits": 4, "modules_in_block_to_quantize": [["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"]]},
         {"attention": "bf16", "ffn": "int4"}),
        ({"quant_method": "gptq", "bits": 4, "dynamic": {"-:.*self_attn.*": {}, "+:.*": {"bits": 8}}},
         {"attention": "bf16", "ffn": "int8", "head": "bf16"}),
        ({"quant_method": "auto-round", "bits": 4, "data_type": "mx_fp", "group_size": 32}, {"ffn": "mxfp4"}),
        ({"quant_method": "auto-round", "bits": 8, "data_type": "fp"}, {"ffn": "fp8"}),
    ],
)  # fmt: skip
def test_names_of_modules_mean_what_engines_make_of_them(
    block: dict[str, Any], expected: dict[str, str], tmp_path: Path
) -> None:
    """Layers of an encoder or a draft are not the language model's; wildcards fit whole names; the first holds."""
    entry = made(tmp_path, {**LLAMA, "quantization_config": block}).entry
    assert {name: entry.format_of(name) for name in expected} == expected


def test_attention_of_a_hybrid_is_not_its_recurrence(tmp_path: Path) -> None:
    """Four of Jamba's 32 mixers attend: that they stay in 16 bit leaves the class in 8."""
    block = {"quant_method": "fp8", "modules_to_not_convert": ["re:.*self_attn.*"]}
    found = made(tmp_path, {**JAMBA, "quantization_config": block})
    assert found.entry.format_of("attention") == "fp8"
    assert any("attention: " in a and "in bf16" in a for a in found.assumed)
    kept = {"quant_method": "fp8", "modules_to_not_convert": ["mamba", "self_attn"]}
    assert made(tmp_path, {**JAMBA, "quantization_config": kept}).entry.format_of("attention") == "bf16"


def test_a_window_that_nobody_switches_on_is_none(tmp_path: Path) -> None:
    """Qwen's classes have ``use_sliding_window`` off unless a file says otherwise."""
    config = {**LLAMA, "model_type": "qwen2", "sliding_window": 4096, "max_window_layers": 16}
    assert all(m.window == 0 for m in made(tmp_path, config).entry.mixers)
    on = made(tmp_path, {**config, "use_sliding_window": True}).entry
    assert sorted(m.window for m in on.mixers) == [0, 4096]


def test_what_files_of_one_checkpoint_may_state(tmp_path: Path) -> None:
    """A tied head stored once more; MLX's scales and offsets; packed elements counted as parameters."""
    tied = {**LLAMA, "tie_word_embeddings": True}
    t = transformer(made(tmp_path, tied).entry)
    index(tmp_path, total_size=2 * (t.parameters + 128256 * 4096))
    made(tmp_path, tied)
    mlx = {**LLAMA, "quantization": {"bits": 4, "group_size": 64}}
    (tmp_path / "a").mkdir()
    t = transformer(made(tmp_path / "a", mlx).entry)
    index(tmp_path / "a", total_size=(t.parameters - t.norms) * 4.5 / 8 + 2 * t.norms)
    made(tmp_path / "a", mlx)
    gptq = {**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}
    index(tmp_path / "a", total_parameters=2_000_000_000)
    made(tmp_path / "a", gptq)


def test_a_name_may_count_encoders_that_are_left_out(tmp_path: Path) -> None:
    config = {"model_type": "llava", "vision_config": {"model_type": "clip"}, "text_config": dict(LLAMA)}
    assert len(made(tmp_path, config, "x-13B").warnings) == 1  # encoders are left out


def test_a_key_of_windows_changes_nothing_where_every_layer_is_listed(tmp_path: Path) -> None:
    """Command R7B says every fourth layer by ``layer_switch``, and may list its layers beside."""
    config = {**LLAMA, "model_type": "cohere2", "sliding_window": 4096, "layer_switch": 4}
    listed = (["sliding_attention"] * 3 + ["full_attention"]) * 8
    by_number = made(tmp_path, config).entry.mixers
    assert by_number == made(tmp_path, {**config, "layer_types": listed}).entry.mixers
    assert {m.window: m.layers for m in by_number} == {4096: 24, 0: 8}
