//! What is permitted: Cedar policies over the directory.
//!
//! Policies are a file of the operations team's; the schema is ours, for it says what we ask. Both are checked against each
//! other when they are loaded: a policy with a misspelt attribute, or one that could fail on some request, never comes into
//! force. A decision names the policies that made it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock, Mutex};

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet, Request,
    RestrictedExpression, Schema, ValidationMode, Validator,
};
use jiff::Timestamp;
use miette::Diagnostic;
use sha2::{Digest, Sha256};

use super::{Directory, PlatformRight};
use crate::action::Permission;
use crate::ids::{Name, TenantId, UserId};

/// What policies can speak of.
pub const SCHEMA: &str = include_str!("../../policies/tenantry.cedarschema");

/// The policies that a new installation starts from.
pub const DEFAULT_POLICIES: &str = include_str!("../../policies/default.cedar");

/// What is asked of the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Whether an operator holds a permission, with or without an emergency right and an approval of the command.
    Permission(Permission, Option<&'a Emergency>, Option<&'a Approved>),
    /// Whether an operator may approve the command of this one.
    ApproveCommand(&'a UserId),
    /// Whether an operator may ask for an emergency right.
    AskBreakGlass,
    /// Whether an operator may approve the emergency right that this one asked for.
    ApproveBreakGlass(&'a UserId),
    /// Whether an operator may end the emergency right that this one asked for.
    EndBreakGlass(&'a UserId),
}

impl Ask<'_> {
    /// Whether only the time stands beside the question.
    fn is_plain(self) -> bool {
        matches!(self, Self::Permission(_, None, None) | Self::AskBreakGlass)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Permission(permission, ..) => permission.name(),
            Self::ApproveCommand(_) => "approve_command",
            Self::AskBreakGlass => "ask_break_glass",
            Self::ApproveBreakGlass(_) => "approve_break_glass",
            Self::EndBreakGlass(_) => "end_break_glass",
        }
    }
}

/// An approved emergency right, as policies see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emergency {
    /// The second person.
    pub approved_by: UserId,
    /// When it ends.
    pub until: Timestamp,
}

/// A second person's approval of the command, as policies see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// The second person.
    pub by: UserId,
    /// When they approved.
    pub at: Timestamp,
}

/// What the policies say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// They may, because of these policies.
    Permit(Vec<String>),
    /// They may not, because of this.
    Deny(String),
}

/// Policies that can't be used, with everything that is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyError(String);

impl PolicyError {
    fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

/// There is one.
const PLATFORM_ID: &str = "tenantry";

static AUTHORIZER: LazyLock<Authorizer> = LazyLock::new(Authorizer::new);
static SCHEMA_PARSED: LazyLock<Schema> =
    LazyLock::new(|| Schema::from_cedarschema_str(SCHEMA).expect("the schema of this build is valid").0);

fn entity_type(name: &str) -> EntityTypeName {
    EntityTypeName::from_str(name).expect("a type of the schema")
}

static OPERATOR: LazyLock<EntityTypeName> = LazyLock::new(|| entity_type("Operator"));
static TENANT: LazyLock<EntityTypeName> = LazyLock::new(|| entity_type("Tenant"));
static TEAM: LazyLock<EntityTypeName> = LazyLock::new(|| entity_type("Team"));
static SEGMENT: LazyLock<EntityTypeName> = LazyLock::new(|| entity_type("Segment"));
static PLATFORM: LazyLock<EntityTypeName> = LazyLock::new(|| entity_type("Platform"));
static ACTION: LazyLock<EntityTypeName> = LazyLock::new(|| entity_type("Action"));

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

/// Policies and the directory they are over, checked and ready to decide.
pub struct Policies {
    text: Arc<str>,
    policies: PolicySet,
    directory: Directory,
    entities: Entities,
    fingerprint: [u8; 32],
    /// What is known of the last second that anyone asked in.
    moment: Mutex<Option<Moment>>,
}

/// One second, in Unix time. Policies see the time to the second, so what was ruled in it holds until it is over.
struct Moment {
    second: i64,
    /// What most ask with: Cedar parses a time as if it were a policy.
    context: Context,
    /// What was ruled for those who asked with nothing else; at most [`RULINGS_MAX`].
    rulings: BTreeMap<(UserId, TenantId, &'static str), Ruling>,
}

/// Rulings that are remembered of a second: some 200 bytes each.
const RULINGS_MAX: usize = 10_000;

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policies({})", hex::encode(&self.fingerprint[..8]))
    }
}

impl Policies {
    /// Takes the text of policies, and the directory they are over.
    ///
    /// # Errors
    /// Everything that is wrong: where the text is no policy, a policy without an `@id` or with another's, and whatever
    /// does not fit the schema.
    pub fn new(text: &str, directory: Directory) -> Result<Self, PolicyError> {
        let policies = named(text)?;
        let checked = Validator::new(SCHEMA_PARSED.clone()).validate(&policies, ValidationMode::Strict);
        let wrong: BTreeSet<_> = checked.validation_errors().map(|error| at_line(text, error)).collect();
        if !wrong.is_empty() {
            return Err(PolicyError(wrong.into_iter().collect::<Vec<_>>().join("; ")));
        }
        for warning in checked.validation_warnings().map(ToString::to_string).collect::<BTreeSet<_>>() {
            tracing::warn!(warning, "a policy looks wrong");
        }
        Self::of(text.into(), policies, directory)
    }

    /// The same policies over another directory: to read and to check them takes milliseconds.
    ///
    /// # Errors
    /// When the directory does not fit them.
    pub fn over(&self, directory: Directory) -> Result<Self, PolicyError> {
        Self::of(self.text.clone(), self.policies.clone(), directory)
    }

    fn of(text: Arc<str>, policies: PolicySet, directory: Directory) -> Result<Self, PolicyError> {
        let entities = entities(&directory)?;
        let mut hash = Sha256::new();
        // What decides. The directory's maps are sorted: one text, whatever the order of lines was.
        let known = serde_json::to_string(&(&directory.roles, &directory.tenants, &directory.teams));
        for part in [SCHEMA, &text, &known.map_err(PolicyError::new)?] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Ok(Self { text, policies, directory, entities, fingerprint: hash.finalize().into(), moment: Mutex::default() })
    }

    /// Those that a new installation starts from, over `directory`.
    ///
    /// # Panics
    /// Never: they are tested.
    #[must_use]
    pub fn default_over(directory: Directory) -> Self {
        Self::new(DEFAULT_POLICIES, directory).expect("the policies of this build are valid")
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What can be used, but is hardly meant: names that only one of the policies and the directory knows. A forbid for a
    /// team that nobody is in forbids nothing.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let mut spoken = Spoken::default();
        for policy in self.policies.policies() {
            policy.to_json().iter().for_each(|json| spoken.read(json));
        }
        let Directory { roles, named_teams, named_segments, .. } = &self.directory;
        let mut doubts = Vec::new();
        for (kind, spoken, known) in
            [("team", &spoken.teams, named_teams), ("segment", &spoken.segments, named_segments)]
        {
            let known = || known.iter().map(|name| name.as_str());
            for name in spoken.iter().filter(|name| !known().any(|known| known == name.as_str())) {
                doubts.push(format!("the policies speak of {kind} {name:?}, and the directory has none"));
            }
            for name in known().filter(|name| !spoken.contains(*name)) {
                doubts.push(format!("the directory has a {kind} {name:?}, and no policy speaks of it"));
            }
        }
        let held: BTreeSet<_> = roles.values().flat_map(|tenants| tenants.values()).flatten().collect();
        for role in held.into_iter().filter(|role| !spoken.texts.contains(role.as_str())) {
            doubts.push(format!("the directory has operators as {role}, and no policy speaks of that role"));
        }
        doubts
    }

    /// SHA-256 of all that decides.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// What the policies say to `user`, who asks `ask` of `tenant` at `now`.
    #[must_use]
    pub fn rule(&self, user: &UserId, tenant: &TenantId, ask: Ask<'_>, now: Timestamp) -> Ruling {
        if !self.directory.has_tenant(tenant) {
            // In the words for a tenant that exists: who has no role on it need not learn whether it does.
            let standing = self.directory.standing(user, tenant);
            return Ruling::Deny(format!("{standing}, and no policy permits {} to them", ask.name()));
        }
        let key = ask.is_plain().then(|| (user.clone(), tenant.clone(), ask.name()));
        if let Some(ruling) = key.as_ref().and_then(|key| self.ruled(key, now)) {
            return ruling;
        }
        let request = match self.request(user, tenant, ask, now) {
            Ok(request) => request,
            Err(error) => return Ruling::Deny(format!("the policies can't be asked for {}: {error}", ask.name())),
        };
        let ruling = self.ruling(&request, ask.name(), || self.directory.standing(user, tenant));
        if let Some(key) = key {
            self.remember(key, &ruling, now);
        }
        ruling
    }

    /// What was ruled already in the second of `now`.
    fn ruled(&self, key: &(UserId, TenantId, &'static str), now: Timestamp) -> Option<Ruling> {
        let moment = self.moment.lock().expect("no holder panics");
        moment.as_ref().filter(|moment| moment.second == now.as_second())?.rulings.get(key).cloned()
    }

    /// Keeps a ruling for the rest of the second of `now`.
    fn remember(&self, key: (UserId, TenantId, &'static str), ruling: &Ruling, now: Timestamp) {
        let mut moment = self.moment.lock().expect("no holder panics");
        let moment = moment.as_mut().filter(|moment| moment.second == now.as_second());
        if let Some(moment) = moment.filter(|moment| moment.rulings.len() < RULINGS_MAX) {
            moment.rulings.insert(key, ruling.clone());
        }
    }

    /// What the policies say to `user`, who asks for `right` on the platform at `now`.
    #[must_use]
    pub fn rule_on_platform(&self, user: &UserId, right: PlatformRight, now: Timestamp) -> Ruling {
        let request = self.at(now).and_then(|context| {
            let (who, action) = (uid(&OPERATOR, user.as_str()), uid(&ACTION, right.name()));
            let resource = uid(&PLATFORM, PLATFORM_ID);
            Request::new(who, action, resource, context, Some(&SCHEMA_PARSED)).map_err(|error| error.to_string())
        });
        match request {
            Ok(request) => self.ruling(&request, right.name(), || format!("operator {user} asks for all tenants")),
            Err(error) => Ruling::Deny(format!("the policies can't be asked for {}: {error}", right.name())),
        }
    }

    fn request(&self, user: &UserId, tenant: &TenantId, ask: Ask<'_>, now: Timestamp) -> Result<Request, String> {
        let operator = |user: &UserId| uid(&OPERATOR, user.as_str());
        let mut more = Vec::new();
        match ask {
            Ask::Permission(_, emergency, approved) => {
                let mut person_and_time = |name: &str, who: (&str, &UserId), when: (&str, Timestamp)| {
                    let who = (who.0.to_owned(), RestrictedExpression::new_entity_uid(operator(who.1)));
                    let fields = [who, (when.0.to_owned(), datetime(when.1))];
                    let record = RestrictedExpression::new_record(fields).map_err(|error| error.to_string())?;
                    more.push((name.to_owned(), record));
                    Ok::<_, String>(())
                };
                if let Some(Emergency { approved_by, until }) = emergency {
                    person_and_time("break_glass", ("approved_by", approved_by), ("until", *until))?;
                }
                if let Some(Approved { by, at }) = approved {
                    person_and_time("approval", ("by", by), ("at", *at))?;
                }
            }
            Ask::AskBreakGlass => {}
            Ask::ApproveBreakGlass(requester) | Ask::EndBreakGlass(requester) | Ask::ApproveCommand(requester) => {
                more.push(("requester".to_owned(), RestrictedExpression::new_entity_uid(operator(requester))));
            }
        }
        let context = match more.is_empty() {
            true => self.at(now)?,
            false => {
                more.push(("now".to_owned(), datetime(now)));
                Context::from_pairs(more).map_err(|error| error.to_string())?
            }
        };
        let action = uid(&ACTION, ask.name());
        let resource = uid(&TENANT, tenant.as_str());
        Request::new(operator(user), action, resource, context, Some(&SCHEMA_PARSED)).map_err(|error| error.to_string())
    }

    /// That it is `now`, and nothing else: made once in a second.
    fn at(&self, now: Timestamp) -> Result<Context, String> {
        let (second, mut moment) = (now.as_second(), self.moment.lock().expect("no holder panics"));
        if let Some(known) = moment.as_ref().filter(|known| known.second == second) {
            return Ok(known.context.clone());
        }
        let context = Context::from_pairs([("now".to_owned(), datetime(now))]).map_err(|error| error.to_string())?;
        *moment = Some(Moment { second, context: context.clone(), rulings: BTreeMap::new() });
        Ok(context)
    }

    fn ruling(&self, request: &Request, asked: &str, standing: impl Fn() -> String) -> Ruling {
        let response = AUTHORIZER.is_authorized(request, &self.policies, &self.entities);
        let mut because: Vec<_> = response.diagnostics().reason().map(ToString::to_string).collect();
        // Cedar gives them in no order.
        because.sort_unstable();
        if let Some(error) = response.diagnostics().errors().next() {
            // The schema leaves no room for one; and a policy that fails must not permit by its absence.
            tracing::error!(%error, asked, standing = standing(), "a policy failed; the request is denied");
            return Ruling::Deny(format!("a policy failed: {error}"));
        }
        if response.decision() == cedar_policy::Decision::Allow {
            return Ruling::Permit(because);
        }
        let standing = standing();
        Ruling::Deny(match because.is_empty() {
            true => format!("{standing}, and no policy permits {asked} to them"),
            false => format!("{standing}, and {asked} is forbidden by policy {}", because.join(", ")),
        })
    }
}

/// The policies in `text` but the one with this `@id`.
///
/// # Errors
/// When there is none, or the text is no policies.
pub fn without(text: &str, id: &str) -> Result<String, PolicyError> {
    let all = named(text)?;
    let mut left: Vec<_> = all.policies().map(|policy| (policy.id().to_string(), policy.to_string())).collect();
    let before = left.len();
    left.retain(|(name, _)| name != id);
    if left.len() == before {
        return Err(PolicyError::new(format!("no policy has the @id {id:?}")));
    }
    // Cedar keeps them in no order that could be relied on.
    left.sort_unstable();
    Ok(left.into_iter().map(|(_, policy)| policy + "\n").collect())
}

/// The policies in `text`, each under the name that its `@id` gives.
fn named(text: &str) -> Result<PolicySet, PolicyError> {
    let parsed = PolicySet::from_str(text).map_err(|error| PolicyError(at_line(text, &error)))?;
    if parsed.is_empty() {
        return Err(PolicyError::new("there is no policy in it, and what no policy permits is forbidden to everyone"));
    }
    if parsed.templates().next().is_some() {
        return Err(PolicyError::new("templates are not linked to anything here: write policies"));
    }
    let (mut names, mut policies) = (BTreeSet::new(), Vec::new());
    for policy in parsed.policies() {
        let Some(name) = policy.annotation("id").filter(|name| Name::parse(name).is_ok()) else {
            let what =
                "a policy has no @id(\"...\") of lowercase letters, digits and '-', by which decisions could name it";
            return Err(PolicyError::new(format!("{what}: {}", first_line(&policy.to_string()))));
        };
        if !names.insert(name.to_owned()) {
            return Err(PolicyError::new(format!("two policies have the @id {name:?}")));
        }
        policies.push(policy.new_id(PolicyId::new(name)));
    }
    PolicySet::from_policies(policies).map_err(PolicyError::new)
}

/// `error`, with the line and column of `text` that it points at, and what would be right, if it says so.
fn at_line(text: &str, error: &dyn Diagnostic) -> String {
    let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    let place = offset.and_then(|offset| text.get(..offset)).map(|before| {
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        format!("line {} column {column}: ", before.matches('\n').count() + 1)
    });
    let help = error.help().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{}{error}{help}", place.unwrap_or_default())
}

fn first_line(text: &str) -> &str {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default()
}

/// What policies speak of, from their JSON form.
#[derive(Default)]
struct Spoken {
    teams: BTreeSet<String>,
    segments: BTreeSet<String>,
    texts: BTreeSet<String>,
}

impl Spoken {
    fn read(&mut self, json: &serde_json::Value) {
        match json {
            serde_json::Value::Object(object) => {
                if let (Some(kind), Some(id)) = (object.get("type"), object.get("id").and_then(|id| id.as_str())) {
                    match kind.as_str() {
                        Some("Team") => drop(self.teams.insert(id.to_owned())),
                        Some("Segment") => drop(self.segments.insert(id.to_owned())),
                        _ => {}
                    }
                }
                object.values().for_each(|value| self.read(value));
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| self.read(value)),
            serde_json::Value::String(text) => drop(self.texts.insert(text.clone())),
            _ => {}
        }
    }
}

fn entities(directory: &Directory) -> Result<Entities, PolicyError> {
    let text = |text: &str| RestrictedExpression::new_string(text.into());
    let operators: BTreeSet<_> = directory.roles.keys().chain(directory.teams.keys()).collect();
    let mut all = Vec::new();
    for user in operators {
        let tags = directory.roles.get(user).into_iter().flatten().map(|(tenant, roles)| {
            let roles = roles.iter().map(|role| text(role.as_str()));
            (tenant.to_string(), RestrictedExpression::new_set(roles))
        });
        let teams = directory.teams.get(user).into_iter().flatten().map(|team| uid(&TEAM, team.as_str()));
        all.push(Entity::new_with_tags(uid(&OPERATOR, user.as_str()), [], teams, tags).map_err(PolicyError::new)?);
    }
    for (tenant, segments) in &directory.tenants {
        let name = [("name".to_owned(), text(tenant.as_str()))].into_iter().collect();
        let segments = segments.iter().map(|segment| uid(&SEGMENT, segment.as_str())).collect();
        all.push(Entity::new(uid(&TENANT, tenant.as_str()), name, segments).map_err(PolicyError::new)?);
    }
    Entities::from_entities(all, Some(&SCHEMA_PARSED)).map_err(PolicyError::new)
}

/// The time, to the second.
fn datetime(at: Timestamp) -> RestrictedExpression {
    RestrictedExpression::new_datetime(format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = r#"
        tenants = ["initech"]
        binding = [
            { user = "ana", tenant = "acme", role = "billing" },
            { user = "ana", tenant = "acme", role = "viewer" },
            { user = "ada", tenant = "acme", role = "admin" },
            { user = "ada", tenant = "hooli", role = "admin" },
            { user = "sue", tenant = "acme", role = "admin" },
        ]
        team = [
            { name = "support", members = ["sam"] },
            { name = "on-call", members = ["olaf", "dora"] },
            { name = "duty-managers", members = ["dora", "dan"] },
            { name = "suspended", members = ["sue"] },
        ]
        segment = [{ name = "supported", tenants = ["acme", "globex"] }, { name = "locked", tenants = ["hooli"] }]
    "#;

    fn policies() -> Policies {
        Policies::default_over(Directory::parse(DIRECTORY).unwrap())
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ask(who: &str, tenant: &str, ask: Ask<'_>) -> Result<Vec<String>, String> {
        match policies().rule(&user(who), &TenantId::parse(tenant).unwrap(), ask, at("2026-01-01T00:00:00Z")) {
            Ruling::Permit(policies) => Ok(policies),
            Ruling::Deny(why) => Err(why),
        }
    }

    fn may(who: &str, tenant: &str, permission: Permission) -> Result<Vec<String>, String> {
        ask(who, tenant, Ask::Permission(permission, None, None))
    }

    /// Every permission of the system is an action of the schema, and every default role's rights are these and no others.
    #[test]
    fn roles_permit_what_they_say_and_nothing_else() {
        use Permission::{IssueCredit, ManageLimits, PauseTenant, Read};
        let held = |who, tenant| {
            let held = Permission::ALL.into_iter().filter(|permission| may(who, tenant, *permission).is_ok());
            held.collect::<Vec<_>>()
        };
        assert_eq!(held("ana", "acme"), [Read, ManageLimits, IssueCredit]);
        let all_alone = Permission::ALL.into_iter().filter(|permission| *permission != Permission::EraseSecrets);
        assert_eq!(held("ada", "acme"), all_alone.collect::<Vec<_>>());
        assert_eq!(held("ada", "hooli"), [Read, PauseTenant], "hooli is locked");
        assert_eq!(held("sam", "acme"), [Read]);
        assert_eq!(held("sam", "globex"), [Read]);
        assert_eq!(held("olaf", "initech"), [PauseTenant]);
        for (who, tenant) in [("sam", "initech"), ("ana", "globex"), ("sue", "acme"), ("bob", "acme"), ("ada", "acm")] {
            assert_eq!(held(who, tenant), [], "{who} on {tenant}");
        }
    }

    #[test]
    fn a_name_that_only_the_policies_or_only_the_directory_knows_is_doubted() {
        assert_eq!(policies().doubts(), [""; 0]);
        let doubts = |from, to| {
            let directory = Directory::parse(&DIRECTORY.replacen(from, to, 1)).unwrap();
            Policies::default_over(directory).doubts()
        };
        assert_eq!(
            doubts(r#"name = "locked""#, r#"name = "lockd""#),
            [
                r#"the policies speak of segment "locked", and the directory has none"#,
                r#"the directory has a segment "lockd", and no policy speaks of it"#
            ]
        );
        assert_eq!(doubts(r#"name = "suspended""#, r#"name = "suspendet""#).len(), 2);
        assert_eq!(
            doubts(r#"role = "billing""#, r#"role = "biling""#),
            ["the directory has operators as biling, and no policy speaks of that role"]
        );
    }

    #[test]
    fn a_wrong_policy_is_pointed_at_and_an_empty_file_is_no_policy() {
        let told = |text: &str| Policies::new(text, Directory::default()).unwrap_err().to_string();
        let sound = "@id(\"a\")\npermit (principal, action, resource);\n";
        let unended = told(&format!("{}@id(\"b\")\n{sound}", sound.replace(';', "")));
        assert!(unended.starts_with("line 3 column 1: "), "{unended}");
        let misspelt = told("@id(\"a\")\npermit (principal, action, resource)\nwhen { resource.nam == \"x\" };");
        assert!(misspelt.contains("line 3 column 8: "), "{misspelt}");
        assert!(told("// nothing\n").contains("there is no policy in it"));
    }

    #[test]
    fn a_decision_says_which_policies_made_it() {
        assert_eq!(
            may("ana", "acme", Permission::Read).unwrap(),
            ["billing-manages-limits-and-credit", "viewer-reads"]
        );
        assert_eq!(
            may("ana", "acme", Permission::ManageEntitlements).unwrap_err(),
            "operator ana is billing and viewer on tenant acme, and no policy permits manage_entitlements to them"
        );
        assert_eq!(
            may("sue", "acme", Permission::Read).unwrap_err(),
            "operator sue of team suspended is admin on tenant acme, and read is forbidden by policy suspended-operators-do-nothing"
        );
        assert_eq!(
            may("ana", "acme-2", Permission::Read).unwrap_err(),
            "operator ana holds no role on tenant acme-2, and no policy permits read to them"
        );
    }

    #[test]
    fn all_alerts_are_for_those_who_are_called_when_something_rings() {
        let may = |who| policies().rule_on_platform(&user(who), PlatformRight::WatchAlerts, Timestamp::UNIX_EPOCH);
        for who in ["dan", "olaf"] {
            assert_eq!(may(who), Ruling::Permit(vec!["duty-managers-and-on-call-watch-alerts".into()]), "{who}");
        }
        let Ruling::Deny(why) = may("ada") else { panic!("an admin of some tenants sees them all") };
        assert_eq!(why, "operator ada asks for all tenants, and no policy permits watch_alerts to them");
        assert!(matches!(may("sue"), Ruling::Deny(why) if why.contains("suspended-operators-do-nothing")));
    }

    #[test]
    fn break_glass_takes_another_person_and_ends() {
        let emergency = |by: &str, until| Emergency { approved_by: user(by), until: at(until) };
        let may = |who, emergency: &Emergency| {
            ask(who, "globex", Ask::Permission(Permission::ManageLimits, Some(emergency), None))
        };
        assert_eq!(may("olaf", &emergency("dan", "2026-01-01T00:00:01Z")).unwrap(), ["break-glass"]);
        assert!(may("olaf", &emergency("dan", "2026-01-01T00:00:00Z")).is_err(), "it has ended");
        assert!(may("olaf", &emergency("olaf", "2026-01-01T00:00:01Z")).is_err(), "one person is not two");
        assert!(ask("olaf", "globex", Ask::AskBreakGlass).is_ok());
        assert!(ask("ana", "acme", Ask::AskBreakGlass).is_err());
        assert!(ask("dan", "globex", Ask::ApproveBreakGlass(&user("olaf"))).is_ok());
        assert!(ask("olaf", "globex", Ask::ApproveBreakGlass(&user("dora"))).is_err(), "no duty manager");
        let own = ask("dora", "globex", Ask::ApproveBreakGlass(&user("dora"))).unwrap_err();
        assert!(own.ends_with("forbidden by policy nobody-approves-their-own-break-glass"), "{own}");
        assert!(ask("olaf", "globex", Ask::EndBreakGlass(&user("olaf"))).is_ok());
        assert!(ask("ana", "globex", Ask::EndBreakGlass(&user("olaf"))).is_err());
    }

    #[test]
    fn erasing_secrets_takes_another_person_whoever_asks() {
        let at = at("2026-01-01T00:00:00Z");
        let may = |by: &str| {
            let approved = Approved { by: user(by), at };
            ask("ada", "acme", Ask::Permission(Permission::EraseSecrets, None, Some(&approved)))
        };
        assert_eq!(may("dan").unwrap(), ["admin-manages-everything"]);
        assert!(may("ada").unwrap_err().ends_with("forbidden by policy erasing-secrets-takes-two"));
        let approve =
            |who, tenant| ask(who, tenant, Ask::ApproveCommand(&user("ana"))).map(|policies| policies.concat());
        assert_eq!(approve("ada", "acme").unwrap(), "admins-approve-commands");
        assert_eq!(approve("dan", "globex").unwrap(), "duty-managers-approve-commands");
        for (who, tenant) in [("ana", "acme"), ("ada", "globex"), ("olaf", "acme"), ("sue", "acme")] {
            assert!(approve(who, tenant).is_err(), "{who} on {tenant}");
        }
        assert!(ask("ada", "acme", Ask::ApproveCommand(&user("ada"))).is_err(), "nobody approves their own");
    }

    /// A right that ends between two seconds must not be remembered past its end.
    #[test]
    fn a_ruling_is_remembered_for_its_second_its_user_and_its_tenant_only() {
        let text = r#"
            @id("until-noon") permit (principal, action == Action::"read", resource)
            when { resource.name == "acme" && context.now < datetime("2026-01-01T12:00:00Z") };
        "#;
        let policies = Policies::new(text, Directory::parse(DIRECTORY).unwrap()).unwrap();
        let rule = |who: &str, tenant: &str, now: &str| {
            let ask = Ask::Permission(Permission::Read, None, None);
            matches!(
                policies.rule(&user(who), &TenantId::parse(tenant).unwrap(), ask, at(now)),
                Ruling::Permit(because) if because == ["until-noon"]
            )
        };
        for _ in 0..2 {
            assert!(rule("ana", "acme", "2026-01-01T11:59:59Z"));
            assert!(rule("ana", "acme", "2026-01-01T11:59:59.999Z"));
            assert!(!rule("ana", "hooli", "2026-01-01T11:59:59Z"));
            assert!(!rule("ana", "acme", "2026-01-01T12:00:00Z"));
            assert!(!rule("ana", "acme", "2026-01-01T12:00:00.5Z"));
        }
        let moment = policies.moment.lock().unwrap();
        assert_eq!(moment.as_ref().unwrap().rulings.len(), 1, "what was asked in the last second is forgotten");
    }

    #[test]
    fn a_policy_is_left_out_by_its_name() {
        let left = without(DEFAULT_POLICIES, "erasing-secrets-takes-two").unwrap();
        let policies = Policies::new(&left, Directory::parse(DIRECTORY).unwrap()).unwrap();
        let ask = Ask::Permission(Permission::EraseSecrets, None, None);
        let acme = TenantId::parse("acme").unwrap();
        let ruled = policies.rule(&user("ada"), &acme, ask, at("2026-01-01T00:00:00Z"));
        assert_eq!(ruled, Ruling::Permit(vec!["admin-manages-everything".into()]));
        assert!(without(DEFAULT_POLICIES, "no-such").is_err());
    }

    #[test]
    fn a_policy_that_could_fail_or_has_no_name_is_refused_and_says_why() {
        let error = |text: &str| Policies::new(text, Directory::default()).unwrap_err().to_string();
        let permit = |when: &str| {
            format!("@id(\"p\") permit (principal, action == Action::\"read\", resource) when {{ {when} }};")
        };
        assert!(error(&permit("resource.nmae == \"acme\"")).contains("nmae"), "a misspelt attribute");
        assert!(
            error(&permit("principal.getTag(resource.name).contains(\"x\")")).contains("tag"),
            "a tag that may be absent"
        );
        assert!(error("@id(\"p\") permit (principal, action == Action::\"raed\", resource);").contains("raed"));
        assert!(error("permit (principal, action, resource);").contains("has no @id"));
        let twice = "@id(\"p\") permit (principal, action, resource);".repeat(2);
        assert_eq!(error(&twice), "two policies have the @id \"p\"");
        assert!(!error("permit (principal").is_empty());
    }

    #[test]
    fn the_fingerprint_is_that_of_what_decides() {
        let parse = |text: &str| Policies::default_over(Directory::parse(text).unwrap()).fingerprint();
        let one = r#"binding = [{ user = "a", tenant = "t", role = "r" }, { user = "b", tenant = "t", role = "r" }]"#;
        let other_order =
            r#"binding = [{ user = "b", tenant = "t", role = "r" }, { user = "a", tenant = "t", role = "r" }]"#;
        assert_eq!(parse(one), parse(other_order));
        assert_ne!(parse(one), parse(&one.replace("\"b\"", "\"c\"")));
        let text = format!("{DEFAULT_POLICIES}\n// a remark");
        assert_ne!(Policies::new(&text, Directory::parse(one).unwrap()).unwrap().fingerprint(), parse(one));
    }
}
