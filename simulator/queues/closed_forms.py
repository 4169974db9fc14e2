"""Closed forms of queues under one name: what a simulation must give, and what mean rates answer without one.

Units, saturation (`math.inf`) and the result type are in `closed_means`; the sources stand with each function.
"""

from simulator.queues.closed_batches import BulkMeans, batch_arrivals, bulk_service
from simulator.queues.closed_breakdowns import Completion, availability, completion, mg1_breakdowns, mg1_vacations
from simulator.queues.closed_chains import (
    PipelineTimes,
    TandemMeans,
    constant_pipeline,
    fork_join_response_s,
    tandem_capacity_hz,
    tandem_with_blocking,
)
from simulator.queues.closed_dead_time import (
    bernoulli_live_share,
    hybrid_hz,
    live_share,
    non_paralyzable_hz,
    paralyzable_hz,
    true_rate_hz,
)
from simulator.queues.closed_erlang import erlang_b, erlang_b_up_to, erlang_c, servers_for_loss, servers_for_wait
from simulator.queues.closed_finite import mgcc, mm1k, mmck, mmck_distribution, places_for_loss
from simulator.queues.closed_means import QueueMeans
from simulator.queues.closed_mg1k import filled_buffer_loss, md1k, mg1k, mg1k_distribution, slotted_buffer_loss
from simulator.queues.closed_networks import (
    ClosedNetwork,
    OpenNetwork,
    closed_network,
    jackson,
    mean_value_analysis,
    traffic_rates_hz,
    visit_ratios,
)
from simulator.queues.closed_precision import mm1_customers_for, mm1_wait_variance_s2, samples_for
from simulator.queues.closed_priority import mg1_priority, mmc_priority
from simulator.queues.closed_rules import (
    CMS_RULES,
    rule_live_share,
    rules_live_share,
    rules_live_share_bounds,
    rules_live_share_estimate,
)
from simulator.queues.closed_stations import (
    ggc,
    md1,
    mg1,
    mg1_ps,
    mg1_ps_response_s,
    mgc_ps,
    mm1,
    mm1_distribution,
    mm1_response_quantile_s,
    mm1_wait_quantile_s,
    mmc,
    mmc_distribution,
    mmc_response_quantile_s,
    mmc_response_tail,
    mmc_wait_probability,
    mmc_wait_quantile_s,
)

__all__ = [
    "QueueMeans", "mm1", "mm1_distribution", "mm1_wait_quantile_s", "mm1_response_quantile_s",
    "mmc", "mmc_distribution", "mmc_wait_probability", "mmc_wait_quantile_s", "mmc_response_tail",
    "mmc_response_quantile_s", "md1", "mg1", "ggc", "mg1_ps", "mg1_ps_response_s", "mgc_ps",
    "erlang_b", "erlang_b_up_to", "erlang_c", "servers_for_loss", "servers_for_wait",
    "mm1k", "mmck", "mmck_distribution", "mgcc", "places_for_loss",
    "md1k", "mg1k", "mg1k_distribution", "slotted_buffer_loss", "filled_buffer_loss",
    "batch_arrivals", "BulkMeans", "bulk_service", "mg1_priority", "mmc_priority",
    "availability", "Completion", "completion", "mg1_breakdowns", "mg1_vacations",
    "non_paralyzable_hz", "paralyzable_hz", "hybrid_hz", "live_share", "true_rate_hz", "bernoulli_live_share",
    "CMS_RULES", "rule_live_share", "rules_live_share", "rules_live_share_estimate",
    "rules_live_share_bounds",
    "OpenNetwork", "ClosedNetwork", "traffic_rates_hz", "jackson", "visit_ratios", "mean_value_analysis",
    "closed_network", "TandemMeans", "tandem_with_blocking", "tandem_capacity_hz", "fork_join_response_s",
    "PipelineTimes", "constant_pipeline", "mm1_wait_variance_s2", "mm1_customers_for", "samples_for",
]  # fmt: skip
