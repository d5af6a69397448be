//! G8: rate limits hold, and one tenant's flood costs the others no more than the scenario's bound.
//!
//! The rate is judged by what the broker took in: whatever was both let through and taken in within a span of time is no
//! more than a burst and what the rate adds in that span. Between the two a message may wait as long as it likes, for auth or
//! for the broker: only what it is known to have been let through by counts. A flooded tenant's own delay is
//! its own affair; that of the others is measured from sending to effect.

use std::time::Duration;

use tenantry_system::rate_limit::Rate;

use super::{Case, Finding};
use crate::tenantry::evidence::Seen;

/// What the limiter sees in one instant reaches those who look on at two: the length of two long ticks.
const INSTANT: Duration = Duration::from_millis(4);

/// Below this many samples a 99th percentile says nothing.
const SAMPLES_MIN: usize = 100;

/// Whether the rate held so far.
pub(super) fn beginning(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G8-fair-share");
    let rate = case.rate_limits.tenant;
    for (tenant, times) in &case.seen.taken_in {
        let since = |id: &str| let_through_since(case.seen, id);
        let spans: Vec<_> = times.iter().filter_map(|(id, at)| Some((since(id)?, *at))).collect();
        let (per_second, burst) = (rate.per_second.get(), rate.burst.get());
        for (since, until, messages) in busiest(&spans, per_second) {
            finding.expect(messages as f64 <= allowed(rate, until - since), || {
                let (from, to) = (since.as_millis(), until.as_millis());
                format!("{tenant}: {messages} from {from} to {to} ms, more than {per_second} a second and bursts of {burst} allow")
            });
        }
    }
    finding
}

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = beginning(case);
    if let Some(bound) = case.quiet_p99_ms_max {
        let noisy = &case.cast.tenants[0];
        let mut delays: Vec<_> = quiet_delays(case, noisy);
        delays.sort_unstable();
        // The scenario was refused if it had too few; a rare seed draws fewer all the same, and says nothing.
        if delays.len() >= SAMPLES_MIN {
            let p99 = delays[delays.len() * 99 / 100].as_millis();
            finding.expect(p99 <= u128::from(bound), || {
                format!("beside {noisy}'s noise, 1 in 100 commands of the others took {p99} ms or more; the bound is {bound} ms")
            });
        }
    }
    finding
}

/// How many messages of a tenant may be let through within `span`.
pub(crate) fn allowed(rate: Rate, span: Duration) -> f64 {
    f64::from(rate.burst.get()) + f64::from(rate.per_second.get()) * (span + INSTANT).as_secs_f64()
}

/// Since when the producer may have let a message through; never, if it came past the producer.
pub(crate) fn let_through_since(seen: &Seen, id: &str) -> Option<Duration> {
    seen.let_through.get(id)?.iter().min().copied()
}

/// Of the spans that begin with each message the one that its messages least fit into at this rate, as (from, to, how many lie in
/// it whole).
fn busiest(spans: &[(Duration, Duration)], per_second: u32) -> Vec<(Duration, Duration, usize)> {
    let mut by_end = spans.to_vec();
    by_end.sort_unstable_by_key(|(since, until)| (*until, *since));
    let most = |(from, _): &(Duration, Duration)| {
        let inside = by_end.iter().filter(|(since, _)| since >= from);
        let counted = inside.enumerate().map(|(index, (_, until))| (*from, *until, index + 1));
        let excess = |(from, to, messages): &(Duration, Duration, usize)| {
            *messages as f64 - f64::from(per_second) * (*to - *from).as_secs_f64()
        };
        counted.max_by(|a, b| excess(a).total_cmp(&excess(b)))
    };
    spans.iter().filter_map(most).collect()
}

fn quiet_delays(case: &Case<'_>, noisy: &tenantry_system::ids::TenantId) -> Vec<Duration> {
    let quiet = case.seen.commands.values().filter(|command| command.tenant != *noisy);
    let delay = |id: &str| {
        let effect = case.seen.effects.get(id)?.first()?;
        Some(effect.saturating_sub(case.seen.clients.get(id)?.sent_at))
    };
    quiet.filter_map(|command| delay(&command.message_id)).collect()
}
