//! Rules, read from a TOML file: `policies/alerts.toml` says what each kind means, and is what a new installation starts from.
//!
//! Flat tables, all of one shape: a field that a kind has no use for is refused, so that nobody relies on what is not
//! looked at. Every name of an event is checked: a misspelt one would never be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::Offset;
use serde::Deserialize;
use toml::Spanned;

use crate::audit::{Code, Event, Severity, StepKind};
use crate::ids::Name;
use crate::rights::Role;

/// The rules that a new installation starts from.
pub const DEFAULT_RULES: &str = include_str!("../../policies/alerts.toml");

/// The most rules: each looks at every event.
const RULES_MAX: usize = 64;

/// The largest threshold: that many events are remembered of each key, four times over.
const THRESHOLD_MAX: u64 = 1000;

/// The longest window, quiet time and age, in seconds: a start reads that much of the log again.
const SECONDS_MAX: u64 = 7 * 24 * 3600;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What alerts call it.
    pub name: Name,
    /// What it means, in words.
    pub about: String,
    /// How urgent it is.
    pub severity: Severity,
    /// When it fires.
    pub kind: Kind,
    /// Which events it looks at.
    pub events: Selection,
    /// Whose events it looks at together.
    pub by: By,
    /// How long it says nothing more of a key, in milliseconds.
    pub quiet_ms: i64,
}

/// When a rule fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// So many events within a window.
    Count {
        /// So many.
        threshold: usize,
        /// Its length in milliseconds.
        window_ms: i64,
    },
    /// Events of so many different ones within a window.
    Distinct {
        /// What must differ.
        of: Of,
        /// So many.
        threshold: usize,
        /// Its length in milliseconds.
        window_ms: i64,
    },
    /// Any of them.
    Each,
    /// Any of them outside these hours.
    OutsideHours(Hours),
    /// What one of them began has not ended for so long.
    Age {
        /// What ends it.
        until: Selection,
        /// How long, in milliseconds.
        age_ms: i64,
    },
}

/// Whose events a rule looks at together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Each operator's.
    User,
    /// Each tenant's.
    Tenant,
    /// All.
    Nobody,
}

/// What must differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The tenants.
    Tenant,
    /// The operators.
    User,
    /// The messages.
    Message,
}

impl By {
    /// Whose `event` is; none where nobody says.
    pub(super) fn key(self, event: &Event) -> Option<&str> {
        match self {
            Self::User => event.user(),
            Self::Tenant => event.tenant(),
            Self::Nobody => Some(""),
        }
    }
}

impl Of {
    /// What `event` is of.
    pub(super) fn value(self, event: &Event) -> Option<&str> {
        match self {
            Self::Tenant => event.tenant(),
            Self::User => event.user(),
            Self::Message => event.message_id(),
        }
    }
}

/// Names of events, each with whose word it must be, if it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection(BTreeSet<(String, Option<Role>)>);

/// What every decision, and what every refused attempt, is called beside its own name.
const GENERAL: [&str; 4] = ["decided", "applied", "rejected", "refused"];

impl Selection {
    /// Whether `event` is one of them.
    #[must_use]
    pub fn has(&self, event: &Event) -> bool {
        let (role, [own, general]) = match event {
            // A decision for want of a right is called as the attempt that it was.
            Event::Decided(entry) if entry.outcome == "applied" => (Role::Ledger, ["applied", "decided"]),
            Event::Decided(entry) => {
                return self.named(Role::Ledger, &entry.outcome)
                    || self.named(Role::Ledger, "rejected")
                    || self.named(Role::Ledger, "decided");
            }
            Event::Refused(attempt) => (attempt.service, [attempt.code.name(), "refused"]),
            Event::Step(step) => (step.service, [step.kind.name(), ""]),
            Event::Raised(_) => return false,
        };
        self.named(role, own) || self.named(role, general)
    }

    fn named(&self, role: Role, name: &str) -> bool {
        self.0.iter().any(|(wanted, by)| wanted == name && by.is_none_or(|by| by == role))
    }

    fn parse(given: &Spanned<Vec<Spanned<String>>>, field: &str) -> Result<Self, Fault> {
        if given.get_ref().is_empty() {
            return Err((given.span(), format!("{field} is empty; name at least one event")));
        }
        let one = |text: &Spanned<String>| -> Result<_, Fault> {
            let (role, name) = match text.get_ref().split_once('/') {
                None => (None, text.get_ref().as_str()),
                Some((role, name)) => {
                    let parsed = Role::parse(role);
                    let problem = || {
                        let roles = Role::ALL.map(Role::name).join(", ");
                        (text.span(), format!("{role:?} is no role; give one of {roles}"))
                    };
                    (Some(parsed.ok_or_else(problem)?), name)
                }
            };
            let mut known = names();
            if !known.clone().any(|known| known == name) {
                let near = known.find(|known| known.starts_with(&name[..name.floor_char_boundary(3)]));
                let hint = near.map_or_else(known_names, |near| format!("{near:?}, perhaps"));
                return Err((text.span(), format!("{name:?} is the name of no event; give {hint}")));
            }
            Ok((name.to_owned(), role))
        };
        given.get_ref().iter().map(one).collect::<Result<_, _>>().map(Self)
    }
}

fn names() -> impl Iterator<Item = &'static str> + Clone {
    let (steps, codes) = (StepKind::ALL.into_iter().map(StepKind::name), Code::ALL.into_iter().map(Code::name));
    GENERAL.into_iter().chain(codes).chain(steps)
}

/// Whether `name` is that of an event, and none that a rule can have.
pub(super) fn is_event(name: &str) -> bool {
    names().any(|known| known == name)
}

fn known_names() -> String {
    format!("one of {}", names().collect::<Vec<_>>().join(", "))
}

/// When people are at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    from: Time,
    to: Time,
    days: Vec<Weekday>,
    offset: Offset,
}

impl Hours {
    /// Whether it is within them, at an instant in milliseconds since the Unix epoch; never where there is no such instant.
    #[must_use]
    pub fn has(&self, at_unix_ms: i64) -> bool {
        let Ok(at) = Timestamp::from_millisecond(at_unix_ms) else { return false };
        let local = self.offset.to_datetime(at);
        self.days.contains(&local.weekday()) && (self.from..self.to).contains(&local.time())
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {} UTC{}", self.from, self.to, self.offset)
    }
}

/// Rules, in the order of their file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules(Arc<[Rule]>);

impl Default for Rules {
    /// [`DEFAULT_RULES`].
    fn default() -> Self {
        Self::parse(DEFAULT_RULES).expect("the default rules are right")
    }
}

impl std::ops::Deref for Rules {
    type Target = [Rule];

    fn deref(&self) -> &[Rule] {
        &self.0
    }
}

/// Rules that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// Not TOML, or not of this shape; says where.
    #[error(transparent)]
    Unreadable(#[from] toml::de::Error),
    /// Not what rules can be.
    #[error("line {line} column {column}, rule {rule}: {problem}")]
    Wrong {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// Its name.
        rule: Name,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// What is wrong, and where in the text.
type Fault = (Range<usize>, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Spanned<Table>>,
}

/// A field's name, where it is given, and the kinds of rule that have a use for it.
type Given<'a> = (&'a str, Option<Range<usize>>, &'a [KindName]);

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum KindName {
    Count,
    Distinct,
    Each,
    OutsideHours,
    Age,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: Spanned<Name>,
    about: Spanned<String>,
    severity: Severity,
    kind: Spanned<KindName>,
    events: Spanned<Vec<Spanned<String>>>,
    by: By,
    distinct: Option<Spanned<Of>>,
    threshold: Option<Spanned<u64>>,
    window_s: Option<Spanned<u64>>,
    quiet_s: Option<Spanned<u64>>,
    hours: Option<Spanned<String>>,
    days: Option<Spanned<Vec<Spanned<String>>>>,
    utc_offset: Option<Spanned<String>>,
    until: Option<Spanned<Vec<Spanned<String>>>>,
    age_s: Option<Spanned<u64>>,
}

/// A number within bounds, both included.
fn within(field: &str, given: &Spanned<u64>, least: u64, most: u64) -> Result<u64, Fault> {
    let value = *given.get_ref();
    match (least..=most).contains(&value) {
        true => Ok(value),
        false => Err((given.span(), format!("{field} is {value}; must be {least} to {most}"))),
    }
}

fn milliseconds(field: &str, given: &Spanned<u64>, least: u64) -> Result<i64, Fault> {
    within(field, given, least, SECONDS_MAX).map(|seconds| seconds as i64 * 1000)
}

impl Table {
    fn rule(&self, span: Range<usize>) -> Result<Rule, Fault> {
        let about = self.about.get_ref();
        if about.is_empty() || about.len() > 200 || about.chars().any(char::is_control) {
            return Err((self.about.span(), "about must be 1 to 200 bytes on one line: it is what people read".into()));
        }
        self.nothing_idle()?;
        let missing = |field: &str| (span.clone(), format!("{field} is missing, and its kind needs it"));
        let threshold = |least| -> Result<_, Fault> {
            let given = self.threshold.as_ref().ok_or_else(|| missing("threshold"))?;
            Ok(within("threshold", given, least, THRESHOLD_MAX)? as usize)
        };
        let window = || milliseconds("window_s", self.window_s.as_ref().ok_or_else(|| missing("window_s"))?, 1);
        let (kind, quiet) = match self.kind.get_ref() {
            KindName::Count => {
                let window_ms = window()?;
                (Kind::Count { threshold: threshold(2)?, window_ms }, window_ms)
            }
            KindName::Distinct => {
                let of = *self.distinct.as_ref().ok_or_else(|| missing("distinct"))?.get_ref();
                let window_ms = window()?;
                (Kind::Distinct { of, threshold: threshold(2)?, window_ms }, window_ms)
            }
            KindName::Each => (Kind::Each, 0),
            KindName::OutsideHours => (Kind::OutsideHours(self.hours(&missing)?), 0),
            KindName::Age => {
                let until = self.until.as_ref().ok_or_else(|| missing("until"))?;
                let age_ms = milliseconds("age_s", self.age_s.as_ref().ok_or_else(|| missing("age_s"))?, 1)?;
                (Kind::Age { until: Selection::parse(until, "until")?, age_ms }, age_ms)
            }
        };
        let quiet_ms = self.quiet_s.as_ref().map(|quiet| milliseconds("quiet_s", quiet, 0)).transpose()?;
        Ok(Rule {
            name: self.name.get_ref().clone(),
            about: about.clone(),
            severity: self.severity,
            kind,
            events: Selection::parse(&self.events, "events")?,
            by: self.by,
            quiet_ms: quiet_ms.unwrap_or(quiet),
        })
    }

    /// Refuses a field that the kind has no use for.
    fn nothing_idle(&self) -> Result<(), Fault> {
        use KindName::{Age, Count, Distinct, OutsideHours};
        fn span<T>(given: &Option<Spanned<T>>) -> Option<Range<usize>> {
            given.as_ref().map(Spanned::span)
        }
        let fields: [Given<'_>; 8] = [
            ("distinct", span(&self.distinct), &[Distinct]),
            ("threshold", span(&self.threshold), &[Count, Distinct]),
            ("window_s", span(&self.window_s), &[Count, Distinct]),
            ("hours", span(&self.hours), &[OutsideHours]),
            ("days", span(&self.days), &[OutsideHours]),
            ("utc_offset", span(&self.utc_offset), &[OutsideHours]),
            ("until", span(&self.until), &[Age]),
            ("age_s", span(&self.age_s), &[Age]),
        ];
        for (field, given, kinds) in fields {
            if let Some(span) = given
                && !kinds.contains(self.kind.get_ref())
            {
                return Err((span, format!("{field} means nothing to a rule of this kind; leave it out")));
            }
        }
        Ok(())
    }

    fn hours(&self, missing: &impl Fn(&str) -> Fault) -> Result<Hours, Fault> {
        let hours = self.hours.as_ref().ok_or_else(|| missing("hours"))?;
        let times = hours.get_ref().split_once('-').map(|(from, to)| [from, to].map(|time| time.parse().ok()));
        let Some([Some(from), Some(to)]) = times.filter(|[from, to]: &[Option<Time>; 2]| from < to) else {
            return Err((hours.span(), format!("hours is {:?}; write such as \"07:00-19:00\"", hours.get_ref())));
        };
        let given = self.utc_offset.as_ref().ok_or_else(|| missing("utc_offset"))?;
        let problem = || (given.span(), format!("utc_offset is {:?}; write such as \"+02:00\"", given.get_ref()));
        let offset = offset(given.get_ref()).ok_or_else(problem)?;
        let given = self.days.as_ref().ok_or_else(|| missing("days"))?;
        let day = |text: &Spanned<String>| {
            let known = DAYS.iter().find(|(name, _)| name == text.get_ref()).map(|(_, day)| *day);
            let problem = || (text.span(), format!("{:?} is no day; write such as \"mon\"", text.get_ref()));
            known.ok_or_else(problem)
        };
        let days = given.get_ref().iter().map(day).collect::<Result<_, _>>()?;
        Ok(Hours { from, to, days, offset })
    }
}

/// An offset such as `+02:00`.
fn offset(text: &str) -> Option<Offset> {
    let (hours, minutes) = text.strip_prefix(['+', '-'])?.split_once(':')?;
    let number = |text: &str, most: i32| -> Option<i32> {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number <= most)
    };
    let seconds = number(hours, 23)? * 3600 + number(minutes, 59)? * 60;
    Offset::from_seconds(if text.starts_with('-') { -seconds } else { seconds }).ok()
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl Rules {
    /// Reads rules.
    ///
    /// # Errors
    /// What is wrong first, with its line and column, and what would be right.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let File { rule: tables } = toml::from_str(text)?;
        let told = |rule: &Name, (span, problem): Fault| {
            let before = &text[..span.start];
            let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
            RulesError::Wrong { line: 1 + before.matches('\n').count(), column, rule: rule.clone(), problem }
        };
        let (mut rules, mut lines) = (Vec::new(), BTreeMap::new());
        for table in &tables {
            let name = &table.get_ref().name;
            let wrong = |problem: String| told(name.get_ref(), (name.span(), problem));
            if lines.insert(name.get_ref().clone(), ()).is_some() {
                return Err(wrong("the name is taken by a rule above; give it another".into()));
            }
            // An alert's code is a rule's name or an event's: it must be plain which.
            if is_event(name.get_ref().as_str()) {
                return Err(wrong("the name is that of an event; give it another".into()));
            }
            if rules.len() == RULES_MAX {
                return Err(wrong(format!("there are more than {RULES_MAX} rules; leave some out")));
            }
            rules.push(table.get_ref().rule(table.span()).map_err(|fault| told(name.get_ref(), fault))?);
        }
        Ok(Self(rules.into()))
    }

    /// How far back the engine must look after a start, in milliseconds; an hour for what comes late is in it.
    #[must_use]
    pub fn look_back_ms(&self) -> i64 {
        let of = |rule: &Rule| match rule.kind {
            Kind::Count { window_ms, .. } | Kind::Distinct { window_ms, .. } => window_ms.max(rule.quiet_ms),
            Kind::Each | Kind::OutsideHours(_) => rule.quiet_ms,
            // What waits may wait for long.
            Kind::Age { .. } => SECONDS_MAX as i64 * 1000,
        };
        self.iter().map(of).max().unwrap_or(0) + 3_600_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Attempt, AuditEntry, Claimed, Step};
    use crate::ids::UserId;
    use crate::testing::{message_id, tenant};

    const COUNT: &str = "[[rule]]\nname = \"a\"\nabout = \"b\"\nseverity = \"warning\"\nkind = \"count\"\nby = \"user\"\n\
                         events = [\"refused\"]\nthreshold = 3\nwindow_s = 60\n";

    #[test]
    fn the_default_rules_are_right_and_name_every_kind() {
        let rules = Rules::default();
        let has = |test: fn(&Kind) -> bool| rules.iter().any(|rule| test(&rule.kind));
        assert!(has(|kind| matches!(kind, Kind::Count { .. })) && has(|kind| matches!(kind, Kind::Distinct { .. })));
        assert!(has(|kind| matches!(kind, Kind::OutsideHours(_))) && has(|kind| matches!(kind, Kind::Age { .. })));
        // Isolation attempts ring by themselves; the rule on many of them must not forget a code that is critical.
        let sustained = rules.iter().find(|rule| rule.name.as_str() == "sustained-attack").unwrap();
        for code in Code::ALL {
            let attempt = Attempt {
                at_unix_ms: 0,
                service: Role::Consumer,
                entry: String::new(),
                code,
                claimed: Claimed::default(),
                detail: String::new(),
            };
            let attack = attempt.rings() == Some(Severity::Critical) && code != Code::Gap;
            assert_eq!(sustained.events.has(&Event::Refused(attempt)), attack, "{code}");
        }
    }

    #[test]
    fn what_rules_can_not_be_is_refused_with_its_line_and_column_and_what_would_be_right() {
        assert_eq!(Rules::parse(COUNT).unwrap().len(), 1);
        assert_eq!(Rules::parse("").unwrap().len(), 0);
        for (from, to, told) in [
            (
                "\"refused\"",
                "\"refusd\"",
                "line 7 column 11, rule a: \"refusd\" is the name of no event; give \"refused\", perhaps",
            ),
            ("\"refused\"", "\"x\"", "is the name of no event; give one of decided, applied"),
            ("\"refused\"", "\"ledgr/refused\"", "\"ledgr\" is no role; give one of producer"),
            ("[\"refused\"]", "[]", "line 7 column 10, rule a: events is empty"),
            ("threshold = 3", "threshold = 1", "line 8 column 13, rule a: threshold is 1; must be 2 to 1000"),
            ("threshold = 3", "threshold = 1001", "must be 2 to 1000"),
            ("threshold = 3\n", "", "line 1 column 1, rule a: threshold is missing, and its kind needs it"),
            ("threshold = 3", "threshold = 3\nage_s = 3", "line 9 column 9, rule a: age_s means nothing to a rule"),
            ("window_s = 60", "window_s = 604801", "window_s is 604801; must be 1 to 604800"),
            ("window_s = 60", "window = 60", "line 9, column 1"),
            ("\"count\"", "\"counts\"", "unknown variant `counts`"),
            ("\"a\"", "\"A\"", "has 'A' as character 1"),
            ("\"a\"", "\"forbidden\"", "the name is that of an event"),
            ("about = \"b\"", "about = \"\"", "line 3 column 9, rule a: about must be"),
        ] {
            let text = COUNT.replacen(from, to, 1);
            let error = Rules::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
        let twice = Rules::parse(&format!("{COUNT}{COUNT}")).unwrap_err().to_string();
        assert!(twice.starts_with("line 11 column 8, rule a: the name is taken"), "{twice}");
        let many: String = (0..65).map(|number| COUNT.replacen("\"a\"", &format!("\"r{number}\""), 1)).collect();
        assert!(Rules::parse(&many).unwrap_err().to_string().contains("more than 64 rules"));
    }

    #[test]
    fn hours_are_those_of_a_fixed_offset_on_their_days() {
        let hours = |from: &str, to: &str| {
            let text = "[[rule]]\nname = \"a\"\nabout = \"b\"\nseverity = \"critical\"\nkind = \"outside_hours\"\n\
                        events = [\"break_glass_asked\"]\nby = \"tenant\"\nhours = \"07:00-19:00\"\n\
                        days = [\"mon\", \"fri\"]\nutc_offset = \"+02:00\"\n";
            Rules::parse(&text.replacen(from, to, 1)).map_err(|error| error.to_string())
        };
        let rules = hours("", "").unwrap();
        let Kind::OutsideHours(office) = &rules[0].kind else { panic!("{rules:?}") };
        let is_open = |at: &str| office.has(at.parse::<Timestamp>().unwrap().as_millisecond());
        // A Monday, from 07:00 to 19:00 two hours east.
        assert_eq!(
            ["04:59:59.999Z", "05:00:00Z", "16:59:59.999Z", "17:00:00Z"].map(|at| is_open(&format!("2026-01-05T{at}"))),
            [false, true, true, false]
        );
        assert!(!is_open("2026-01-06T12:00:00Z") && is_open("2026-01-09T12:00:00Z"), "Tuesday, Friday");
        assert!(hours("07:00-19:00", "19:00-07:00").unwrap_err().contains("write such as \"07:00-19:00\""));
        assert!(hours("\"mon\"", "\"Monday\"").unwrap_err().contains("line 9 column 9, rule a: \"Monday\" is no day"));
        assert!(hours("+02:00", "Berlin").unwrap_err().contains("write such as \"+02:00\""));
    }

    #[test]
    fn an_event_is_selected_by_its_own_name_by_a_general_one_or_by_whose_word_it_is() {
        let select = |name: &str| {
            let text = COUNT.replacen("refused", name, 1);
            Rules::parse(&text).unwrap()[0].events.clone()
        };
        let entry = |outcome: &str| {
            Event::Decided(AuditEntry {
                at_unix_ms: 0,
                tenant_id: tenant("acme"),
                user_id: UserId::parse("ana").unwrap(),
                action: String::new(),
                message_id: message_id("m-1"),
                body: "".into(),
                outcome: outcome.into(),
                detail: String::new(),
                authority_revision: 1,
                policies: Vec::new(),
                approved_by: None,
                replayed_by: None,
            })
        };
        let [applied, forbidden, suspended] = ["applied", "forbidden", "tenant_suspended"].map(entry);
        let of = |name: &str| [&applied, &forbidden, &suspended].map(|event| select(name).has(event));
        assert_eq!(of("applied"), [true, false, false]);
        assert_eq!(of("rejected"), [false, true, true]);
        assert_eq!(of("decided"), [true, true, true]);
        assert_eq!(of("forbidden"), [false, true, false]);
        let duplicate = |role| Event::Step(Step::new(0, role, StepKind::Duplicate, 1));
        let by = |name: &str| [Role::Broker, Role::Ledger].map(|role| select(name).has(&duplicate(role)));
        assert_eq!(by("duplicate"), [true, true]);
        assert_eq!(by("ledger/duplicate"), [false, true]);
    }
}
