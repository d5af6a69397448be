//! G8: rate limits hold, and one tenant's flood costs the others no more than the scenario's bound.
//!
//! The rate is judged by when the broker took messages in: in any span of time a tenant gets no more than its burst and
//! what its rate adds, and a little for messages that waited on their way from the producer. A flooded tenant's own delay is
//! its own affair; that of the others is measured from sending to effect.

use std::time::Duration;

use super::{Case, Finding};

/// Messages let through at different times can reach the broker together: as far apart as a publish may take.
const ON_THE_WAY: Duration = Duration::from_secs(3);

/// Below this many samples a 99th percentile says nothing.
const SAMPLES_MIN: usize = 100;

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G8-fair-share");
    let rate = case.rate_limits.tenant;
    let forged = case.seen.forged.len();
    for (tenant, times) in &case.seen.taken_in {
        let allowed = |span: Duration| {
            // Forged messages come past the producer and its limits.
            (f64::from(rate.burst.get()) + f64::from(rate.per_second.get()) * span.as_secs_f64()) as usize + forged
        };
        for (first, from) in times.iter().enumerate() {
            let over = (1..).zip(&times[first..]).find(|(taken, to)| *taken > allowed(**to - *from + ON_THE_WAY));
            finding.expect(over.is_none(), || {
                let (taken, to) = over.expect("found just now");
                let span = (*to - *from).as_millis();
                format!(
                    "{tenant}: {taken} messages within {span} ms at {} a second, bursts of {}",
                    rate.per_second, rate.burst
                )
            });
        }
    }
    if let Some(bound) = case.quiet_p99_ms_max {
        let noisy = &case.cast.tenants[0];
        let mut delays: Vec<_> = quiet_delays(case, noisy);
        delays.sort_unstable();
        // Too few to say: the run proves nothing, and must not look as if it did.
        if delays.len() >= SAMPLES_MIN {
            let p99 = delays[delays.len() * 99 / 100].as_millis();
            finding.expect(p99 <= u128::from(bound), || {
                format!("beside {noisy}'s noise, 1 in 100 commands of the others took {p99} ms or more; the bound is {bound} ms")
            });
        } else {
            let count = delays.len();
            finding.expect(false, || format!("only {count} commands of quiet tenants; give at least {SAMPLES_MIN}"));
        }
    }
    finding
}

fn quiet_delays(case: &Case<'_>, noisy: &tenantry_system::ids::TenantId) -> Vec<Duration> {
    let quiet = case.seen.commands.values().filter(|command| command.tenant != *noisy);
    let delay = |id: &str| {
        let effect = case.seen.effects.get(id)?.first()?;
        Some(effect.saturating_sub(case.seen.clients.get(id)?.sent_at))
    };
    quiet.filter_map(|command| delay(&command.message_id)).collect()
}
