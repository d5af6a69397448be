//! G8: rate limits hold, and one tenant's flood costs the others no more than the scenario's bound.
//!
//! The rates - a tenant's, a user's, an address's - are judged by what the broker took in: whatever was both let through and taken in within a span of time is no
//! more than a burst and what the rate adds in that span. Between the two a message may wait as long as it likes, for auth or
//! for the broker: only what it is known to have been let through by counts. A flooded tenant's own delay is
//! its own affair; that of the others is measured from sending to effect.

use std::collections::BTreeMap;
use std::time::Duration;

use tenantry_system::rate_limit::{Rate, RateLimits};

use super::{Case, Finding};
use crate::tenantry::evidence::Seen;

/// What the limiter sees in one instant reaches those who look on at two: the length of two long ticks.
const INSTANT: Duration = Duration::from_millis(4);

/// Since when a message may have been let through, and when the broker had taken it in.
type Span = (Duration, Duration);

/// Below this many samples a 99th percentile says nothing.
const SAMPLES_MIN: usize = 100;

/// Whether the rate held so far.
pub(super) fn beginning(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G8-fair-share");
    let RateLimits { tenant: of_tenant, user: of_user, source: of_source } = *case.rate_limits;
    let mut users: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    let mut source = Vec::new();
    for (tenant, times) in &case.seen.taken_in {
        let since = |id: &str| let_through_since(case.seen, id);
        let let_through = times.iter().filter_map(|(id, at)| Some((id, (since(id)?, *at))));
        let let_through: Vec<(_, Span)> = let_through.collect();
        for (id, span) in &let_through {
            if let Some(command) = case.seen.commands.get(*id) {
                users.entry(command.operator.as_str()).or_default().push(*span);
            }
        }
        let spans: Vec<Span> = let_through.into_iter().map(|(_, span)| span).collect();
        check_rate(tenant.as_str(), &spans, of_tenant, &mut finding);
        source.extend(spans);
    }
    for (user, spans) in users {
        check_rate(user, &spans, of_user, &mut finding);
    }
    // All operators ask from one address.
    check_rate("the operators' address", &source, of_source, &mut finding);
    finding
}

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = beginning(case);
    if let Some(bound) = case.quiet_p99_ms_max {
        let noisy = &case.cast.tenants[0];
        let mut delays: Vec<_> = quiet_delays(case, noisy);
        delays.sort_unstable();
        // The scenario was refused if it had too few; a rare seed draws fewer all the same, and says nothing.
        match delays.len() >= SAMPLES_MIN {
            true => {
                let p99 = delays[delays.len() * 99 / 100].as_millis();
                finding.expect(p99 <= u128::from(bound), || {
                    format!("beside {noisy}'s noise, 1 in 100 commands of the others took {p99} ms or more; the bound is {bound} ms")
                });
            }
            false => {
                let samples = delays.len();
                finding
                    .skipped
                    .push(format!("the quiet tenants' 99th percentile: {samples} samples, and it takes {SAMPLES_MIN}"));
            }
        }
    }
    finding
}

/// No more of those that `who` sent came through than a burst and what the rate adds.
fn check_rate(who: &str, spans: &[Span], rate: Rate, finding: &mut Finding) {
    let (per_second, burst) = (rate.per_second.get(), rate.burst.get());
    finding.compared += spans.len() as u64;
    if spans.len() as u64 <= u64::from(burst) {
        return;
    }
    for (since, until, messages) in busiest(spans, per_second) {
        finding.forbid(messages as f64 > allowed(rate, until - since), || {
            let (from, to) = (since.as_millis(), until.as_millis());
            format!(
                "{who}: {messages} from {from} to {to} ms, more than {per_second} a second and bursts of {burst} allow"
            )
        });
    }
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
fn busiest(spans: &[Span], per_second: u32) -> Vec<(Duration, Duration, usize)> {
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
