"""What each kind of catalogue file may hold: its fields, their SI units, their attributes.

One declaration serves the reader, the units of every printed header and the JSON Schemas
that let an editor complete keys (``dse catalog --schema DIR``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

READINESS: Final = ("shipping", "sampled", "announced", "paper")


@dataclass(frozen=True)
class Kind:
    """The fields one kind of catalogue file must and may hold, and its text attributes."""

    title: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    attributes: dict[str, tuple[str, ...] | None] = field(default_factory=dict)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_CELL: Final = tuple(
    f"{name}_{cell}"
    for cell in ("pslc", "tlc")
    for name in _words(
        "capacity_per_die read_latency program_latency pages_per_shot endurance read_disturb_limit "
        "price_per_byte carbon_per_byte retention_refresh_interval"
    )
)


KINDS: Final[dict[str, Kind]] = {
    "memory": Kind(
        "Memory: DRAM stacks, packages, 3D DRAM on logic, SRAM",
        _words(
            "read_energy interface_energy static_power_per_byte refresh_power_per_byte "
            "access_latency price_per_byte carbon_per_byte max_temperature "
            "refresh_doubling_temperature"
        ),
        _words(
            "capacity_per_die capacity_per_package bandwidth_per_stack bandwidth_per_channel "
            "reference_height footprint_area z_height shoreline host_phy_area "
            "capacity_per_layer_per_area bandwidth_per_layer_per_area signal_share pad_rate reference_pitch tsv_area "
            "tsv_energy_per_layer power_per_tsv bandwidth_per_byte phy_area_per_bandwidth price_year"
        ),
        {"form": ("stack", "package", "on_logic", "sram", "far"), "price_trend": None},
    ),
    "flash": Kind(
        "Flash: High Bandwidth Flash, UFS, flash on the LPDDR bus",
        _words(
            "planes_per_die page_bytes pages_per_block write_amplification read_energy "
            "interface_energy program_energy max_temperature"
        )
        + _CELL,
        _words(
            "read_bandwidth reference_height base_die_buffer "
            "hop_latency idle_power_per_stack idle_power_per_die power_per_stack footprint_area "
            "shoreline host_phy_area "
            "available_height_8 available_height_16 available_height_24 available_height_32 "
            "interface_bandwidth interface_per_die idle_power package_area z_height "
            "internal_bandwidth_per_die price_year"
        ),
        {"form": ("stack", "mobile"), "price_trend": None},
    ),
    "logic": Kind(
        "Logic node",
        _words(
            "mac_density clock_nominal flop_energy leakage_density sram_area wafer_price "
            "defect_density fab_energy fab_gas design_nre mask_set"
        ),
    ),
    "logic_rules": Kind(
        "Rules that hold for every logic node",
        _words(
            "usable_reticle core_overhead noc_share other_share threshold_voltage alpha_power "
            "v_min v_nominal v_max leakage_voltage_coefficient dynamic_voltage_exponent "
            "rate_8bit rate_4bit energy_8bit energy_4bit serdes_area_per_bandwidth controller_area_per_bandwidth "
            "serdes_shoreline_density sram_energy clock_power_share wafer_diameter edge_exclusion scribe "
            "cluster_alpha die_test_cost die_to_die_area_share"
        ),
    ),
    "pnm": Kind(
        "Processing near or in memory",
        _words(
            "bandwidth_gain read_energy flop_energy free_area power_budget compute_limit "
            "capacity_loss flop_density mode_switch_latency shards_per_stack cost_per_stack nre"
        ),
        attributes={"operators": None},
    ),
    "bond": Kind(
        "Die-to-die bonding",
        _words(
            "yield_per_layer cost_per_layer layer_resistance reference_area die_yield test_coverage pad_failure "
            "finest_pitch_2026"
        ),
        _words("finest_pitch_2030"),
    ),
    "thermal": Kind(
        "Thermal path",
        _words(
            "tim_lid_resistance logic_resistance bulk_resistance lid_thickness lid_conductivity silicon_thickness "
            "silicon_conductivity hot_spot_ratio hot_spot_radius stack_cover gap_resistance logic_max_temperature "
            "hot_bandwidth_loss"
        ),
    ),
    "link": Kind(
        "Link",
        _words("energy latency price_per_bandwidth carbon_per_bandwidth"),
        _words("bandwidth area reach failure_rate shoreline_density remote_share switch_latency"),
    ),
    "collective": Kind(
        "Collective engine",
        _words("launch_latency area power endpoint_latency payload bulk_endpoint_latency message_gap"),
        _words("switch_cost_share direct_payload switch_payload reduces_in_network"),
        {"algorithms": None},
    ),
    "topology": Kind("Topology", _words("hop_latency"), _words("taper router_area_per_bandwidth router_energy")),
    "reliability": Kind(
        "Failures, spares and late messages",
        _words("package_failure_rate switch_failure_rate recovery_time repair_time late_share late_delay timeout"),
    ),
    "rack": Kind("Rack", _words("pitch slack")),
    "power_delivery": Kind("Power delivery to a package", _words("max_current_density efficiency cost_per_watt")),
    "switch": Kind("Switch chip", _words("ports bandwidth_per_port power price carbon")),
    "package": Kind(
        "Package",
        _words(
            "cost_per_area assembly_yield area_scale substrate_cost_per_area test_assembly_cost carbon shoreline_use "
            "reference_area defect_density assembly_chips"
        ),
        _words(
            "max_interposer_2024 max_interposer_2026 max_interposer_2027 max_interposer_2028 max_interposer_2029 "
            "max_interposer_2030"
        ),
    ),
    "cooling": Kind(
        "Cooling class",
        _words("area_resistance coolant_temperature max_package_power max_rack_power cost_per_watt fan_share"),
    ),
    "economics": Kind(
        "Cost of a site",
        _words(
            "host_cost host_power board_cost_per_watt facility_capex_per_watt facility_life "
            "maintenance discount_rate spares rack_cost idle_power_share gross_margin"
        ),
    ),
    "carbon": Kind(
        "Carbon factors",
        _words("server_embodied raw_materials package_embodied facility_embodied_per_watt"),
        attributes={"fab_grid": None},
    ),
    "grid": Kind("Electricity of a place", _words("intensity")),
    "price_trend": Kind(
        "Price over the years", _words("factor_2026"), tuple(f"factor_{y}" for y in range(2020, 2041) if y != 2026)
    ),
    "software": Kind(
        "Software stack",
        _words(
            "bandwidth_efficiency flop_efficiency allreduce_alpha layer_overhead step_overhead "
            "sequence_overhead prefill_share routing_skew bandwidth_efficiency_attention "
            "bandwidth_efficiency_experts flop_efficiency_experts link_efficiency "
            "moe_layer_overhead emulation_efficiency narrow_efficiency eager_share first_token_overhead steps_waited "
            "prefill_chunk"
        ),
        _words(
            "tpot_ratio ttft_ratio tpot_ratio_unseen ttft_ratio_unseen tpot_error ttft_error calibration_rows "
            "widening_cost product_launch elementwise_launch"
        ),
        {"calibrated": None, "devices": None},
    ),
    "traffic": Kind(
        "Class of requests",
        _words("input_tokens output_tokens"),
        _words(
            "prefix_share prefix_reuse input_spread output_spread concurrency routing_skew draft_tokens acceptance "
            "block_tokens tokens_per_pass"
        ),
    ),
    "mobile": Kind(
        "Phone body, battery and board",
        _words(
            "skin_resistance heat_capacity junction_resistance burst_power battery_life "
            "background_power package_area soc_base_area npu_overhead mac_share sram_area "
            "soc_z_height soc_static_power assembly_cost stack_assembly_cost power_conversion "
            "bus_latency io_energy_3d dram_layer_resistance dram3d_bandwidth_per_area local_heat_capacity "
            "spot_share stacked_dram_premium"
        ),
        _words("aside_power"),
    ),
    "device": Kind(
        "A machine that exists, or that a paper describes",
        _words("peak_16bit peak_8bit memory_capacity memory_bandwidth memory_stacks memory_height dies"),
        _words(
            "peak_4bit sram tdp link_bandwidth link_latency domain market_price die_area flash_stacks "
            "flash_height flash_inner_bandwidth flash_capacity "
            "vector_peak cpu_cores cpu_core_peak vector_energy cpu_energy idle_power"
        ),
        {
            "target": ("datacenter", "mobile"),
            "body": None,
            "memory": None,
            "node": None,
            "topology": None,
            "formats": None,
            "flash": None,
            "pnm": None,
            "flash_cell": ("pslc", "tlc"),
            "flash_attach": ("own_shoreline", "behind_hbm", "far"),
        },
    ),
}


LLM_TEXT: Final = _words(
    "name title source attention hf_id aliases ffn tied_embeddings attention_bias expert_bias linear precision note"
)


LLM_SHAPE: Final = _words("layers hidden query_heads kv_heads head_dim vocab max_context")


LLM_OPTIONAL: Final = _words(
    "full_attention_layers q_lora_rank kv_lora_rank qk_rope_head_dim qk_nope_head_dim v_head_dim "
    "sliding_window ffn_hidden moe_layers experts experts_per_token shared_experts expert_hidden "
    "dense_layers_ffn_hidden linear_attention_layers linear_key_heads linear_value_heads "
    "linear_key_head_dim linear_value_head_dim linear_conv_kernel linear_state_bytes attention_layers "
    "ffn_layers ffn_width_total shared_expert_hidden moe_latent index_heads index_head_dim index_topk mtp_layers"
)


ATTENTION: Final = ("mha", "gqa", "mqa", "mla", "hybrid")


LINEAR: Final = ("gated_deltanet", "mamba2")


FFN: Final = ("swiglu", "geglu", "gelu", "relu2")


PRECISIONS: Final = ("bf16", "fp16", "fp8", "mxfp4", "nvfp4", "int4", "int8")
