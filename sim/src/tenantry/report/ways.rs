//! Every command's way, read from the trace: when it was sent, confirmed, delivered, had its outcome, and was known to have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tenantry_reports::latency::VirtualLatency;
use tenantry_reports::report::{INTERVALS, Interval, Refusal, RefusedAt, Series, Stage, StageLatency, TenantShare};
use tenantry_reports::time::VirtualMs;

use super::super::approvers::Paired;
use super::super::run::Setup;
use super::super::workload::{Act, Command};
use crate::engine::trace::TraceEntry;

/// One command's way, in virtual microseconds.
#[derive(Debug)]
struct Way<'s> {
    tenant: &'s str,
    action: &'static str,
    sent: u64,
    confirmed: Option<u64>,
    /// The last answer that was no "accepted".
    refused: Option<String>,
    delivered: Option<u64>,
    effect: Option<u64>,
    /// Why the ledger rejected it.
    rejected: Option<String>,
    known: Option<u64>,
}

/// All of them, and what concerns no single one.
#[derive(Debug, Default)]
pub(super) struct Ways<'s> {
    ways: BTreeMap<&'s str, Way<'s>>,
    /// Answers that were no "accepted", by status.
    answers: BTreeMap<String, u64>,
    /// When how many messages came to the broker, and left it for good.
    depth: Vec<(u64, i64)>,
    /// When how many became dead letters.
    dead: Vec<(u64, u64)>,
    /// Messages that the adversary brought to the broker.
    pub(super) forged: BTreeSet<String>,
    /// Messages that took effect.
    pub(super) took_effect: BTreeSet<String>,
}

impl<'s> Ways<'s> {
    /// Reads them.
    pub(super) fn read(setup: &'s Setup, trace: &[TraceEntry]) -> Self {
        let mut all = Self::default();
        for (at_ms, act) in setup.plan.acts() {
            let (Act::Send(command) | Act::TryAndSend(command) | Act::Pair(Paired { command, .. })) = act else {
                continue;
            };
            all.ways.insert(&command.message_id, Way::of(command, at_ms * 1000));
        }
        trace.iter().for_each(|event| all.take(event));
        all
    }

    fn take(&mut self, event: &TraceEntry) {
        let TraceEntry { at_us, kind, detail, .. } = event;
        let mut parts = detail.splitn(3, ' ');
        let (first, second, rest) = (parts.next(), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let first = first.unwrap_or("");
        match *kind {
            "api.answer" => self.answered(*at_us, first, second),
            "broker.published" if rest.starts_with("Ok(Accepted") => self.depth.push((*at_us, 1)),
            "broker.leased" => {
                let id = detail.split_once(" } ").and_then(|(_, leased)| leased.split(' ').next());
                if let Some(way) = id.and_then(|id| self.ways.get_mut(id)) {
                    way.delivered.get_or_insert(*at_us);
                }
            }
            "broker.settled" => self.settled(*at_us, detail),
            "broker.replayed" if rest.contains("Ok(Done") => self.depth.push((*at_us, 1)),
            "ledger.applied" => self.applied(*at_us, second, rest),
            "forged" => drop(self.forged.insert(first.to_owned())),
            "stream.block" if detail.contains("\"kind\":\"decided\"") => {
                let id = detail.split_once("\"message_id\":\"").and_then(|(_, rest)| rest.split('"').next());
                if let Some(way) = id.and_then(|id| self.ways.get_mut(id)) {
                    way.known.get_or_insert(*at_us);
                }
            }
            _ => {}
        }
    }

    fn answered(&mut self, at_us: u64, id: &str, status: &str) {
        // What was sent again is another's question.
        let Some(way) = self.ways.get_mut(id) else { return };
        if matches!(status, "200" | "202") {
            way.confirmed.get_or_insert(at_us);
            return;
        }
        let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        let reason = if is_status { status } else { "no answer" };
        *self.answers.entry(reason.to_owned()).or_default() += 1;
        way.refused = Some(reason.to_owned());
    }

    fn settled(&mut self, at_us: u64, detail: &str) {
        let Some((_, told)) = detail.split_once(" } ").filter(|_| detail.ends_with("Ok(true)")) else { return };
        let number = |text: &str| text.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        let ended = number(told);
        let dead = told.split_once(" ended, ").map_or(0, |(_, rest)| number(rest));
        if ended > 0 {
            self.depth.push((at_us, -(ended as i64)));
        }
        if dead > 0 {
            self.dead.push((at_us, dead));
        }
    }

    fn applied(&mut self, at_us: u64, id: &str, told: &str) {
        if !told.starts_with("Now(") {
            return;
        }
        let code = told.split_once("Rejection { code: \"").and_then(|(_, rest)| rest.split('"').next());
        if code.is_none() {
            self.took_effect.insert(id.to_owned());
        }
        if let Some(way) = self.ways.get_mut(id)
            && way.effect.is_none()
        {
            (way.effect, way.rejected) = (Some(at_us), code.map(str::to_owned));
        }
    }

    /// Every stage's latencies: over all, per tenant, per action.
    pub(super) fn latency(&self) -> Vec<StageLatency> {
        let tenants: BTreeSet<&str> = self.ways.values().map(|way| way.tenant).collect();
        let actions: BTreeSet<&str> = self.ways.values().map(|way| way.action).collect();
        let mut all = Vec::new();
        for stage in Stage::ALL {
            let all_ways = std::iter::once((None, None));
            let of_tenants = tenants.iter().map(|tenant| (Some(*tenant), None));
            let of_actions = actions.iter().map(|action| (None, Some(*action)));
            for (tenant, action) in all_ways.chain(of_tenants).chain(of_actions) {
                let mut counts = VirtualLatency::new();
                let own = self.ways.values().filter(|way| tenant.is_none_or(|tenant| way.tenant == tenant));
                let own = own.filter(|way| action.is_none_or(|action| way.action == action));
                own.filter_map(|way| way.took(stage)).for_each(|took| counts.record(took));
                if counts.count() > 0 {
                    all.push(StageLatency::new(stage, tenant, action, counts));
                }
            }
        }
        all
    }

    /// The run, which took `length`, in intervals.
    pub(super) fn series(&self, length: VirtualMs) -> Series {
        let interval_ms = length.0.div_ceil(INTERVALS as u64).max(1);
        let count = (length.0.div_ceil(interval_ms) as usize).clamp(1, INTERVALS);
        let empty = |index: usize| Interval { from_ms: VirtualMs(index as u64 * interval_ms), ..Interval::default() };
        let mut intervals: Vec<Interval> = (0..count).map(empty).collect();
        let place = |at_us: u64| ((at_us / 1000 / interval_ms) as usize).min(count - 1);
        for way in self.ways.values() {
            intervals[place(way.sent)].sent += 1;
            if let Some(at) = way.confirmed {
                intervals[place(at)].confirmed += 1;
            }
            let Some(at) = way.effect else { continue };
            let interval = &mut intervals[place(at)];
            match way.rejected {
                Some(_) => interval.rejected += 1,
                None => interval.applied += 1,
            }
            way.took(Stage::SentToEffect).into_iter().for_each(|took| interval.latency_virtual_ms.record(took));
        }
        self.dead.iter().for_each(|(at, dead)| intervals[place(*at)].dead_lettered += dead);
        let mut changes = self.depth.iter().peekable();
        let mut depth = 0_i64;
        for (index, interval) in intervals.iter_mut().enumerate() {
            let mut most = depth;
            while let Some((_, change)) = changes.next_if(|(at, _)| place(*at) == index) {
                depth = (depth + change).max(0);
                most = most.max(depth);
            }
            interval.depth_max = most as u64;
        }
        Series { interval_ms: VirtualMs(interval_ms), intervals }
    }

    /// What was refused where and why; `dead_letters` were put aside.
    pub(super) fn refusals(&self, dead_letters: u64) -> Vec<Refusal> {
        let mut rejected: BTreeMap<&str, u64> = BTreeMap::new();
        for code in self.ways.values().filter_map(|way| way.rejected.as_deref()) {
            *rejected.entry(code).or_default() += 1;
        }
        let refusal = |at, reason: &str, count| Refusal { at, reason: reason.to_owned(), count };
        let answers = self.answers.iter().map(|(status, count)| refusal(RefusedAt::Door, status, *count));
        let rejected = rejected.into_iter().map(|(code, count)| refusal(RefusedAt::Ledger, code, count));
        let aside = (dead_letters > 0).then(|| refusal(RefusedAt::DeadLetter, "put aside", dead_letters));
        answers.chain(rejected).chain(aside).collect()
    }

    /// What each tenant had.
    pub(super) fn shares(&self) -> BTreeMap<&'s str, TenantShare> {
        let mut shares: BTreeMap<&str, TenantShare> = BTreeMap::new();
        for way in self.ways.values() {
            let share = shares.entry(way.tenant).or_insert_with(|| TenantShare {
                tenant: way.tenant.to_owned(),
                noisy: false,
                sent: 0,
                confirmed: 0,
                applied: 0,
                rejected: 0,
                refused: 0,
                latency_virtual_ms: VirtualLatency::new(),
            });
            share.sent += 1;
            share.confirmed += u64::from(way.confirmed.is_some());
            share.refused += u64::from(way.confirmed.is_none() && way.refused.is_some());
            share.applied += u64::from(way.effect.is_some() && way.rejected.is_none());
            share.rejected += u64::from(way.rejected.is_some());
            way.took(Stage::SentToEffect).into_iter().for_each(|took| share.latency_virtual_ms.record(took));
        }
        shares
    }
}

impl<'s> Way<'s> {
    fn of(command: &'s Command, sent: u64) -> Self {
        let (tenant, (action, _)) = (command.tenant.as_str(), command.ask.wire());
        let (confirmed, refused, delivered, effect, rejected, known) = Default::default();
        Self { tenant, action, sent, confirmed, refused, delivered, effect, rejected, known }
    }

    /// How long a stage took, if it came to its end.
    fn took(&self, stage: Stage) -> Option<Duration> {
        let (from, to) = match stage {
            Stage::SentToConfirmed => (self.sent, self.confirmed?),
            Stage::ConfirmedToDelivered => (self.confirmed?, self.delivered?),
            Stage::DeliveredToEffect => (self.delivered?, self.effect?),
            Stage::SentToEffect => (self.sent, self.effect?),
            Stage::SentToKnown => (self.sent, self.known?),
        };
        Some(Duration::from_micros(to.saturating_sub(from)))
    }
}
