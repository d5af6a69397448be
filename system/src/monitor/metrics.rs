//! Every metric there is: name, unit, help, labels and all their values. Whoever wants to know what can be measured reads
//! this file.
//!
//! Names follow Prometheus' conventions: a prefix of our own, base units (seconds, bytes), the unit at the end, `_total` on
//! counters. Tenants, operators and messages are never labels: see [`super::metric`].

use std::fmt::Write;

use super::metric::{Counter, Durations, Family, Gauge, Label, Sizes, label};
use crate::audit::{Code, Severity};
use crate::rights::Role;

/// The most lines of samples that a process ever exposes. A test counts them: a label more is a decision. A fifth of them is
/// what each part of the API is asked and how it answers: a live stream and a dry run, put together, would hide each other.
pub const SERIES_MAX: usize = 1000;

impl Label for Role {
    const NAME: &'static str = "role";
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for Code {
    const NAME: &'static str = "code";
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for Severity {
    const NAME: &'static str = "severity";
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        self as usize
    }
}

label! {
    /// A stretch of a command's way.
    Stage = "stage" {
        AuthGrant = "auth_grant",
        PublishConfirm = "publish_confirm",
        QueueWait = "queue_wait",
        Decide = "decide",
        ApplyCommit = "apply_commit",
        EndToEnd = "end_to_end",
    }
}

label! {
    /// What was asked of the HTTP API.
    Route = "route" {
        Submit = "submit",
        Status = "status",
        Tenant = "tenant",
        DryRun = "dry_run",
        Approvals = "approvals",
        DeadLetters = "dead_letters",
        Stream = "stream",
        BreakGlass = "break_glass",
        Audit = "audit",
        Alerts = "alerts",
        Schemas = "schemas",
        Health = "health",
        Other = "other",
    }
}

label! {
    /// How the HTTP API answered: the statuses that it has.
    Answer = "status" {
        Ok = "200", Created = "201", Accepted = "202",
        BadRequest = "400", Unauthorized = "401", Forbidden = "403", NotFound = "404", MethodNotAllowed = "405",
        Timeout = "408", Conflict = "409", TooLarge = "413", TooMany = "429",
        Internal = "500", Unavailable = "503", GatewayTimeout = "504",
        Another = "other",
    }
}

impl Answer {
    /// That of an HTTP status.
    #[must_use]
    pub fn of(status: u16) -> Self {
        let status = status.to_string();
        Self::ALL.iter().copied().find(|answer| answer.value() == status).unwrap_or(Self::Another)
    }
}

label! {
    /// Whose share a rate limit bounds.
    LimitKind = "kind" { Tenant = "tenant", User = "user", Source = "source", }
}

label! {
    /// The three answers of a call.
    CallEnd = "outcome" { Done = "done", Failed = "failed", Unknown = "unknown", }
}

label! {
    /// What a lane waits for.
    LaneClass = "lane" { Ready = "ready", Out = "out", Resting = "resting", Paused = "paused", }
}

label! {
    /// What became of a publish.
    PublishEnd = "answer" {
        Accepted = "accepted", Duplicate = "duplicate", Conflict = "conflict", Overloaded = "overloaded",
    }
}

label! {
    /// The how manieth time a message went out.
    DeliveryKind = "delivery" { First = "first", Again = "again", }
}

label! {
    /// Why a message was put aside.
    DeadReason = "reason" { Refused = "refused", Silent = "silent", }
}

label! {
    /// What an operator did with a dead letter.
    TriageEnd = "end" { Replayed = "replayed", Discarded = "discarded", }
}

label! {
    /// Whether a settlement came in time.
    SettleEnd = "answer" { Settled = "settled", Late = "late", }
}

label! {
    /// How a run left a message, at the consumer.
    HandledEnd = "end" { Done = "done", DeadLetter = "dead_letter", Again = "again", }
}

label! {
    /// What the ledger made of a command.
    AppliedEnd = "outcome" {
        Applied = "applied", Rejected = "rejected", Before = "before", Conflict = "conflict", Overtaken = "overtaken",
        Paused = "paused", Undecided = "undecided", Forged = "forged",
    }
}

label! {
    /// Which outbox of a role: the one of its own store, or the one of what it refuses.
    Outlet = "outbox" { Store = "store", Reports = "reports", }
}

label! {
    /// What became of a try to tell the webhook of an alert: an answer other than a success is a refusal.
    WebhookEnd = "result" { Delivered = "delivered", Refused = "refused", Unreachable = "unreachable", }
}

label! {
    /// What became of a span that was to be exported.
    SpanEnd = "end" { Exported = "exported", Dropped = "dropped", }
}

/// Writes the struct and the list of its fields: a metric that is not listed can't be made.
macro_rules! catalogue {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ident<$labels:ty> = $name:literal;)+) => {
        /// All metrics of one process.
        #[derive(Debug)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $field: $kind<$labels>,)+
        }

        impl Default for Metrics {
            fn default() -> Self {
                Self { $($field: $kind::new($name, concat!($($help),+).trim_ascii()),)+ }
            }
        }

        impl Metrics {
            /// All of them, in the order of this file.
            #[must_use]
            pub fn families(&self) -> Vec<&dyn Family> {
                vec![$(&self.$field),+]
            }
        }
    };
}

catalogue! {
    /// When this process started, in seconds since the Unix epoch.
    start: Gauge<()> = "process_start_time_seconds";
    /// How long a stretch of a command's way took: from request to answer, and between two clocks where two services see its ends.
    stage: Durations<Stage> = "tenantry_stage_duration_seconds";

    /// Requests that the HTTP API has answered.
    http_requests: Counter<(Route, Answer)> = "tenantry_http_requests_total";
    /// How long the HTTP API took to answer; a status waits as long as its caller wants.
    http_duration: Durations<Route> = "tenantry_http_request_duration_seconds";
    /// Live streams that are open: tenants' records, sent as they are logged.
    streams: Gauge<()> = "tenantry_http_streams";
    /// Requests and commands that came too often.
    rate_limited: Counter<LimitKind> = "tenantry_rate_limited_total";
    /// Attempts that a role has refused, by what they were.
    refusals: Counter<(Role, Code)> = "tenantry_refusals_total";
    /// Refused attempts that the audit log could not be told of: the queue to it was full.
    reports_dropped: Counter<Role> = "tenantry_reports_dropped_total";

    /// Calls of other roles, by how they ended.
    rpc_calls: Counter<(Role, CallEnd)> = "tenantry_rpc_calls_total";

    /// How long a commit of a role's store took, its sync included.
    commit: Durations<Role> = "tenantry_store_commit_duration_seconds";
    /// How many commands shared a commit of a role's store.
    commit_commands: Sizes<Role> = "tenantry_store_commit_commands";

    /// Publishes that the broker has answered.
    publishes: Counter<PublishEnd> = "tenantry_broker_publishes_total";
    /// Messages that the broker has sent out.
    deliveries: Counter<DeliveryKind> = "tenantry_broker_deliveries_total";
    /// Settlements that the broker has answered.
    settlements: Counter<SettleEnd> = "tenantry_broker_settlements_total";
    /// Messages that the broker has put aside: refused for good, or after silence only.
    dead_letters: Counter<DeadReason> = "tenantry_broker_dead_letters_total";
    /// Dead letters that operators have dealt with.
    dead_letters_triaged: Counter<TriageEnd> = "tenantry_broker_dead_letters_triaged_total";
    /// Messages that lie aside and that someone should look at.
    dead_letters_kept: Gauge<()> = "tenantry_broker_dead_letters";
    /// Tenants whose lane is not empty, by what it waits for. Those that are out are the leases.
    lanes: Gauge<LaneClass> = "tenantry_broker_lanes";
    /// Messages that wait or are out, by what their lane waits for.
    messages: Gauge<LaneClass> = "tenantry_broker_messages";
    /// The age of the oldest message, by what its lane waits for.
    oldest: Gauge<LaneClass> = "tenantry_broker_oldest_message_age_seconds";
    /// What the waiting messages take of memory.
    queue_bytes: Gauge<()> = "tenantry_broker_queue_bytes";

    /// Messages that a consumer has had in work, by how the run left them.
    handled: Counter<HandledEnd> = "tenantry_consumer_messages_total";

    /// Commands that the ledger has answered for.
    applied: Counter<AppliedEnd> = "tenantry_ledger_commands_total";
    /// How long ago the ledger put the last question about authority that was answered; infinite before the first.
    authority_age: Gauge<()> = "tenantry_ledger_authority_age_seconds";
    /// The revision of authority that the ledger knows.
    authority_revision: Gauge<()> = "tenantry_ledger_authority_revision";
    /// Differences between what tenants have and what their outcomes made of it, as the last reconciliation found them.
    discrepancies: Gauge<()> = "tenantry_ledger_discrepancies";

    /// Events that the audit log has not confirmed yet, by who keeps them.
    outbox_events: Gauge<(Role, Outlet)> = "tenantry_outbox_events";
    /// The age of the oldest event that the audit log has not confirmed yet, by who keeps it.
    outbox_age: Gauge<(Role, Outlet)> = "tenantry_outbox_oldest_event_age_seconds";

    /// Alerts on record, also those that nobody was told of because many were alike.
    alerts: Counter<Severity> = "tenantry_audit_alerts_total";
    /// Tries to tell the webhook of an alert, by what became of them.
    webhook: Counter<WebhookEnd> = "tenantry_webhook_deliveries_total";
    /// The age of the oldest alert that the webhook has not taken and is to be told; zero when it has all.
    webhook_age: Gauge<()> = "tenantry_webhook_oldest_alert_age_seconds";

    /// Sampled spans, by what became of them: what the collector does not take in time is dropped.
    spans: Counter<SpanEnd> = "tenantry_trace_spans_total";
}

impl Metrics {
    /// All of it, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(64 * 1024);
        for family in self.families() {
            let (name, help, kind) = (family.name(), family.help(), family.kind());
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            family.write(&mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_follows_the_conventions() {
        let metrics = Metrics::default();
        let mut names = BTreeSet::new();
        for family in metrics.families() {
            let (name, help, kind) = (family.name(), family.help(), family.kind());
            assert!(name.starts_with("tenantry_") || name == "process_start_time_seconds", "{name}: no prefix");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}: a strange letter");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}: `_total` is for counters");
            let times = ["duration", "age", "time"].iter().any(|word| name.split('_').any(|part| part == *word));
            assert_eq!(times, name.ends_with("_seconds"), "{name}: times are in seconds, and say so at the end");
            let abbreviated =
                ["ms", "millis", "milliseconds", "kb", "mb", "minutes", "percent", "count", "bucket", "sum"];
            assert!(!name.split('_').any(|part| abbreviated.contains(&part)), "{name}: no base unit");
            assert!(help.ends_with('.') && !help.contains('\n') && help.len() > 20, "{name}: {help:?}");
            assert!(names.insert(name), "{name} is there twice");
        }
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let metrics = Metrics::default();
        let bound: usize = metrics.families().iter().map(|family| family.series_max()).sum();
        assert!(
            bound <= SERIES_MAX && bound > SERIES_MAX * 9 / 10,
            "{bound} series; at most {SERIES_MAX} were decided"
        );
        let written = metrics.render().lines().filter(|line| !line.starts_with('#')).count();
        assert!(written <= bound, "{written} lines, more than {bound}");
    }

    #[test]
    fn labels_are_where_their_indices_say() {
        fn check<L: Label + PartialEq + std::fmt::Debug>() {
            for (index, label) in L::ALL.iter().enumerate() {
                assert_eq!(label.index(), index, "{label:?}");
            }
        }
        check::<Role>();
        check::<Code>();
        check::<Severity>();
        check::<Answer>();
        check::<Route>();
        assert_eq!([201, 202, 418].map(Answer::of), [Answer::Created, Answer::Accepted, Answer::Another]);
    }
}
