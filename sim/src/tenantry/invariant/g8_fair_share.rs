//! G8: rate limits hold, and one tenant's flood costs the others no more than the scenario's bound.
//!
//! The rate is judged by when the broker took messages in: in any span of time a tenant gets no more than its burst and
//! what its rate adds, and a little for messages that waited on their way from the producer. A flooded tenant's own delay is
//! its own affair; that of the others is measured from sending to effect.

use std::time::Duration;

use super::{Case, Finding};

/// Messages let through at different times can reach the broker together: as far apart as a publish takes, and more.
const ON_THE_WAY: Duration = Duration::from_millis(500);

/// Below this many samples a 99th percentile says nothing.
const SAMPLES_MIN: usize = 100;

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G8-fair-share");
    let rate = case.rate_limits.tenant;
    for (tenant, times) in &case.seen.taken_in {
        let forged = case.seen.witness.published.keys();
        let forged = forged.filter(|(lane, id)| lane == tenant && case.seen.forged.contains(id.as_str())).count();
        // A bucket that leaks at the rate and must never overflow says the same of every span of time at once. Forged messages
        // come past the producer and its limits.
        let per_second = f64::from(rate.per_second.get());
        let holds = f64::from(rate.burst.get()) + per_second * ON_THE_WAY.as_secs_f64() + forged as f64;
        let (mut level, mut last) = (0.0_f64, Duration::ZERO);
        for at in times {
            level = (level - per_second * (*at - last).as_secs_f64()).max(0.0) + 1.0;
            last = *at;
            finding.expect(level <= holds, || {
                let at = at.as_millis();
                format!("{tenant}: more by {at} ms than {per_second} a second and bursts of {} allow", rate.burst)
            });
        }
    }
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

fn quiet_delays(case: &Case<'_>, noisy: &tenantry_system::ids::TenantId) -> Vec<Duration> {
    let quiet = case.seen.commands.values().filter(|command| command.tenant != *noisy);
    let delay = |id: &str| {
        let effect = case.seen.effects.get(id)?.first()?;
        Some(effect.saturating_sub(case.seen.clients.get(id)?.sent_at))
    };
    quiet.filter_map(|command| delay(&command.message_id)).collect()
}
