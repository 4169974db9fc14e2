"""What the keys of a Hugging Face `config.json` mean to a cost: nothing (`HARMLESS`), or a name for a type."""

from __future__ import annotations

TORCH_DTYPES: dict[str, str] = {
    "bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "torch.bfloat16": "bf16", "torch.float16": "fp16",
    "torch.float32": "fp32", "float8_e4m3fn": "fp8",
}  # fmt: skip

MODEL_TYPES: dict[str, str] = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "mixtral": "MixtralForCausalLM",
    "qwen2": "Qwen2ForCausalLM", "qwen2_moe": "Qwen2MoeForCausalLM", "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM", "deepseek_v2": "DeepseekV2ForCausalLM", "deepseek_v3": "DeepseekV3ForCausalLM",
    "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM",
    "phi3": "Phi3ForCausalLM", "gpt_oss": "GptOssForCausalLM", "gpt2": "GPT2LMHeadModel", "falcon": "FalconForCausalLM",
    "mamba": "MambaForCausalLM", "mamba2": "Mamba2ForCausalLM",
    "falcon_mamba": "FalconMambaForCausalLM", "jamba": "JambaForCausalLM", "nemotron_h": "NemotronHForCausalLM",
    "qwen3_next": "Qwen3NextForCausalLM", "qwen3_5_text": "Qwen3_5ForConditionalGeneration",
    "qwen3_5_moe_text": "Qwen3_5MoeForConditionalGeneration", "rwkv6": "Rwkv6ForCausalLM", "opt": "OPTForCausalLM",
    "bloom": "BloomForCausalLM", "gptj": "GPTJForCausalLM", "codegen": "CodeGenForCausalLM",
    "gpt_neox": "GPTNeoXForCausalLM", "phi": "PhiForCausalLM", "gpt_bigcode": "GPTBigCodeForCausalLM",
    "starcoder2": "Starcoder2ForCausalLM", "mpt": "MPTForCausalLM", "deepseek_v32": "DeepseekV32ForCausalLM",
    "glm_moe_dsa": "GlmMoeDsaForCausalLM", "glm4_moe": "Glm4MoeForCausalLM", "minimax_m2": "MiniMaxM2ForCausalLM",
    "longcat_flash": "LongcatFlashForCausalLM", "kimi_k2": "DeepseekV3ForCausalLM",
    "llama4_text": "Llama4ForConditionalGeneration", "llama4": "Llama4ForConditionalGeneration",
    "qwen3_5": "Qwen3_5ForConditionalGeneration", "qwen3_5_moe": "Qwen3_5MoeForConditionalGeneration",
    "gemma3": "Gemma3ForConditionalGeneration", "kimi_k25": "KimiK25ForConditionalGeneration",
    "bert": "BertModel", "t5": "T5ForConditionalGeneration",
}  # fmt: skip
"""Architecture of a file that names only its `model_type`."""

_FILES_AND_TOKENS = """
_name_or_path _attn_implementation _attn_implementation_autoset auto_map architectures model_type transformers_version
torch_dtype dtype bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id decoder_start_token_id unk_token_id
mask_token_id use_cache use_mambapy max_length min_length do_sample early_stopping num_beams task_specific_params prefix
output_past language finetuning_task id2label label2id num_labels problem_type is_decoder is_encoder_decoder
add_cross_attention tokenizer_class output_attentions output_hidden_states return_dict torchscript
gradient_checkpointing directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers
pooler_size_per_head pooler_type pad_vocab_size_multiple n_special predict_special_tokens bad_words_ids
begin_suppress_tokens chunk_size_feed_forward cross_attention_hidden_size diversity_penalty encoder_no_repeat_ngram_size
exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty no_repeat_ngram_size
num_beam_groups num_return_sequences output_scores pruned_heads remove_invalid_values repetition_penalty
return_dict_in_generate suppress_tokens temperature tf_legacy_loss tie_encoder_decoder top_k top_p typical_p
use_bfloat16 ignore_index num_logits_to_keep init_device tokenizer_name logit_scale verbose
"""

_INITIAL_VALUES_AND_TRAINING = """
initializer_range initializer_factor initializer_cfg attention_dropout attention_probs_dropout_prob hidden_dropout_prob
hidden_dropout dropout dropout_rate attn_pdrop embd_pdrop resid_pdrop classifier_dropout embedding_dropout layerdrop
router_aux_loss_coef aux_loss_alpha router_jitter_noise output_router_logits seq_aux pretraining_tp ep_size
rescale_prenorm_residual residual_in_fp32 time_step_floor time_step_init_scheme time_step_max time_step_min
time_step_scale initial_context_length time_step_limit embd_dropout emb_pdrop resid_dropout
residual_dropout bias_dropout_fusion masked_softmax_fusion slow_but_exact zero_expert_type use_routing_bias init_config
use_mtp mtp_transformer_layers
"""

_SAME_WORK = """
hidden_act hidden_activation activation_function dense_act_fn act is_gated_act rms_norm_eps layer_norm_eps
layer_norm_epsilon norm_epsilon rope_theta rope_scaling rope_parameters rope_local_base_freq rope_interleave
partial_rotary_factor original_max_position_embeddings attn_logit_softcapping final_logit_softcapping
query_pre_attn_scalar cache_implementation swiglu_limit scale_attn_weights scale_attn_by_inverse_layer_idx
reorder_and_upcast_attn summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
position_embedding_type relative_attention_max_distance norm_topk_prob scoring_func topk_group topk_method n_group
routed_scaling_factor qk_head_dim max_window_layers sliding_window_size use_mrope parallel_attn
apply_residual_connection_post_layernorm use_bidirectional_attention fused_norm fused_add_norm rms_norm use_conv_bias
ssm_cfg use_bias use_qk_norm qk_norm_type attn_output_gate indexer_rope_interleave mamba_hidden_act mlp_hidden_act
mamba_proj_bias mamba_conv_bias use_mamba_kernels use_triton chunk_size mixer_rms_eps rotary_emb_base rotary_pct
attn_config ffn_config attn_temperature_tuning floor_scale attn_scale no_rope_layers moe_router_dtype
num_local_experts_per_tok calc_mamba_reg_lambda router_bias mla_scale_q_lora mla_scale_kv_lora norm_eps norm_type
attention_method attention_hidden_size rescale_every layer_norm_elementwise_affine activation alibi
attention_softmax_in_fp32 scale_attention_softmax_in_fp32 inference_runner
pre_allocate_kv_cache validate_runner_input offset_alibi rotary head_size_divisor mlp_type time_step_rank init_std
multi_query embedding_fraction softmax_scale
"""

_SAID_BY_OTHER_KEYS = """
d_inner d_model intermediate_size n_ctx n_positions n_layer num_key_value_heads head_dim max_position_embeddings
sliding_window use_sliding_window layer_types tie_word_embeddings experts_per_token num_attention_heads n_head
n_embed n_embd num_hidden_layers expand attention_bias mlp_bias qkv_bias bias shared_intermediate_size
shared_expert_intermediate_size mlp_only_layers no_bias learned_pos_emb
mamba_expand quantization_config ffn_dim word_embed_proj_dim mtp_use_dedicated_embeddings
"""

PREDICTION_LAYERS = ("num_nextn_predict_layers", "num_mtp_modules", "mtp_num_hidden_layers")
"""Counts of layers that predict further tokens, which no builder has."""

HARMLESS: frozenset[str] = frozenset(
    (_FILES_AND_TOKENS + _INITIAL_VALUES_AND_TRAINING + _SAME_WORK + _SAID_BY_OTHER_KEYS).split()
)
"""Keys without bearing on work, bytes or memory, or that repeat others; readers take what they need before these."""
