//! What must hold of every input, one function for each parser that reads what the network sends. The fuzz targets call
//! them, and an ordinary test of `tenantry-system` replays the committed corpus through the same ones.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::Value;
use serde_json::value::RawValue;
use tenantry_system::action::{self, Permission, REGISTRY};
use tenantry_system::audit::AuditService;
use tenantry_system::auth::{
    Approval, ApprovalRequest, Authority, AuthorityService, Binding, BreakGlass, BreakGlassRequest, Decision, Denied,
    Directory, EmbeddedAuthority, GrantRequest, IdentityProvider, InForce, PlatformRight, Policies, Role,
};
use tenantry_system::broker::BrokerService;
use tenantry_system::call::CallError;
use tenantry_system::capability::World;
use tenantry_system::grant::{GrantToken, Purpose, Verifier};
use tenantry_system::ids::{TenantId, UserId};
use tenantry_system::jws::{Keyring, MAX_TOKEN_BYTES, PrivateKey, PublicKeys};
use tenantry_system::ledger::LedgerService;
use tenantry_system::message::{BodyHash, MAX_BODY_BYTES, Message, Refusal};
use tenantry_system::producer::{StatusQuery, WAIT_MAX_MS};
use tenantry_system::rpc::{Frame, Service};

/// Asserts what must hold of an input.
pub type Check = fn(&[u8]);

/// Every target with its properties; each has a folder of this name in the corpus.
pub const TARGETS: &[(&str, Check)] = &[
    ("message", message),
    ("payload", payload),
    ("grant", grant),
    ("operator_token", operator_token),
    ("frame", frame),
    ("rpc_request", rpc_request),
    ("status_query", status_query),
];

/// A refusal is short whatever is refused.
fn bounded(refusal: &Refusal) {
    assert!(refusal.field.len() <= 600 && refusal.problem.len() <= 600, "{refusal:?}");
}

/// A body as it comes from an operator. Another reader of an accepted one finds the same in it.
pub fn message(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let read = match Message::parse(body.clone()) {
        Ok(read) => read,
        Err(refusal) => return bounded(&refusal),
    };
    assert!(data.len() <= MAX_BODY_BYTES);
    assert_eq!(read.body, body, "the bytes travel untouched");
    let other: Value = serde_json::from_slice(data).expect("what is accepted is JSON");
    assert_eq!(other["tenant_id"], read.tenant_id.as_str());
    assert_eq!(other["user_id"], read.user_id.as_str());
    assert_eq!(other["message_id"], read.message_id.as_str());
    assert_eq!(other["action"], read.action.name());
    assert!(depth(&other) <= 9);
    // Written anew by the other reader, it is the same command.
    let again = Message::parse(other.to_string().into()).expect("what was accepted once");
    assert_eq!((&again.tenant_id, again.timestamp), (&read.tenant_id, read.timestamp));
    assert_eq!(format!("{:?}", again.action), format!("{:?}", read.action));
    assert_eq!(TenantId::parse(read.tenant_id.as_str()).as_ref(), Ok(&read.tenant_id));
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A payload, read as every action's.
pub fn payload(data: &[u8]) {
    let Ok(raw) = serde_json::from_slice::<&RawValue>(data) else { return };
    for spec in REGISTRY {
        match action::parse(spec.name, raw) {
            Err(refusal) => {
                assert!(refusal.field.starts_with("payload"), "{refusal:?}");
                bounded(&refusal);
            }
            Ok(read) => {
                let other: Value = serde_json::from_str(raw.get()).expect("what is accepted is JSON");
                let again = RawValue::from_string(other.to_string()).expect("JSON");
                let again = action::parse(spec.name, &again).expect("what was accepted once");
                assert_eq!(format!("{again:?}"), format!("{read:?}"));
                assert!(depth(&other) <= 8);
            }
        }
    }
}

const SEED: [u8; 32] = [7; 32];
const GRANT: &str = "tenantry-grant+jwt";
const ACCESS_TOKEN: &str = "at+jwt";

/// A token of these claims, whatever they are, under a header and a signature that are right.
fn signed(typ: &str, claims: &[u8]) -> String {
    let signed = PrivateKey::from_seed(&SEED).sign(typ, &());
    let header = signed.split('.').next().expect("a header");
    let text = format!("{header}.{}", BASE64URL.encode(claims));
    let signature = SigningKey::from_bytes(&SEED).sign(text.as_bytes());
    format!("{text}.{}", BASE64URL.encode(signature.to_bytes()))
}

/// The first byte says whether the rest is a whole token or only its claims, genuinely signed: no fuzzer would find a
/// signature.
fn token(typ: &str, data: &[u8]) -> Option<String> {
    match data.split_first()? {
        (b'=', token) => Some(String::from_utf8_lossy(token).into_owned()),
        (_, claims) => Some(signed(typ, claims)),
    }
}

/// A grant. What is believed says the same to another reader, and was signed by the one trusted key.
pub fn grant(data: &[u8]) {
    let Some(token) = token(GRANT, data) else { return };
    let ring = Keyring::from(&PrivateKey::from_seed(&SEED).public());
    let claims = ring.verify::<Box<RawValue>>(&token, GRANT);
    assert!(ring.verify::<Box<RawValue>>(&token, ACCESS_TOKEN).is_err(), "a token is of one type");
    let stranger = Keyring::from(&PrivateKey::from_seed(&[8; 32]).public());
    assert!(stranger.verify::<Box<RawValue>>(&token, GRANT).is_err(), "a stranger's key verifies nothing");
    let bench = bench();
    let read = bench.runtime.block_on(bench.verifier.read(token.clone().into()));
    if let Ok(read) = read {
        assert!(token.len() <= MAX_TOKEN_BYTES);
        let claims = claims.expect("what is believed is signed");
        let other: Value = serde_json::from_str(claims.get()).expect("what is believed is JSON");
        assert_eq!(other["tenant"], read.scope().tenant().as_str());
        assert_eq!((&other["aud"], &other["iss"]), (&"tenantry-effects".into(), &"tenantry-auth".into()));
        assert_eq!(other["purpose"], "read");
    }
}

/// An operator's token. Whoever is let in is whom the token names, and only where a role allows it.
pub fn operator_token(data: &[u8]) {
    let Some(token) = token(ACCESS_TOKEN, data) else { return };
    let bench = bench();
    let (acme, globex) = (TenantId::parse("acme").expect("an id"), TenantId::parse("globex").expect("an id"));
    let request = GrantRequest { token: token.clone(), user: None, tenant: acme, purpose: Purpose::Read };
    let granted = bench.runtime.block_on(bench.authority.grant(&request)).expect("auth answers");
    let elsewhere = GrantRequest { tenant: globex, ..request };
    let elsewhere = bench.runtime.block_on(bench.authority.grant(&elsewhere)).expect("auth answers");
    assert!(elsewhere.is_err(), "nobody has a role on this tenant");
    if granted.is_ok() {
        let claims = token.split('.').nth(1).and_then(|claims| BASE64URL.decode(claims).ok()).expect("claims");
        assert!(std::str::from_utf8(&claims).is_ok());
        // Claims that we pass over may hold what only a stricter reader refuses: a number out of range, half a surrogate.
        if let Ok(other) = serde_json::from_slice::<Value>(&claims) {
            assert_eq!(other["sub"], "ana");
        }
    }
}

/// Auth with one operator, `ana`, who may read `acme`; its keys are those of [`SEED`].
struct Bench {
    authority: EmbeddedAuthority,
    verifier: Verifier,
    runtime: tokio::runtime::Runtime,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let folder = std::env::temp_dir().join(format!("tenantry-fuzz-{}", std::process::id()));
        let world = World::real(&folder).expect("a folder for the key store");
        let issuer = IdentityProvider::from_seed("urn:fuzz", &SEED);
        let (user, tenant) = (UserId::parse("ana").expect("an id"), TenantId::parse("acme").expect("an id"));
        let role = Role::parse("viewer").expect("a role");
        let directory = Directory::new([Binding { user, tenant, role }]).expect("a directory");
        let opened = EmbeddedAuthority::open(&world, issuer.trusted(), Policies::default_over(directory));
        let authority = runtime.block_on(opened).expect("auth opens");
        let verifier = Verifier::new(Arc::new(FixedKeys), world.clock.clone());
        Bench { authority, verifier, runtime }
    })
}

/// An auth service that knows one key and nothing else.
struct FixedKeys;

#[async_trait]
impl Authority for FixedKeys {
    async fn grant(&self, _: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        Err(not_asked())
    }

    async fn recheck(&self, _: &UserId, _: &TenantId, _: Permission, _: &BodyHash) -> Result<Decision, CallError> {
        Err(not_asked())
    }

    async fn keys(&self) -> Result<PublicKeys, CallError> {
        Ok(PrivateKey::from_seed(&SEED).public())
    }

    async fn in_force(&self, _: u64, _: Duration) -> Result<InForce, CallError> {
        Err(not_asked())
    }

    async fn operator(&self, _: &str, _: Option<PlatformRight>) -> Result<Result<UserId, Denied>, CallError> {
        Err(not_asked())
    }

    async fn break_glass(&self, _: &str, _: BreakGlassRequest) -> Result<Result<Vec<BreakGlass>, Denied>, CallError> {
        Err(not_asked())
    }

    async fn approvals(&self, _: &str, _: ApprovalRequest) -> Result<Result<Vec<Approval>, Denied>, CallError> {
        Err(not_asked())
    }
}

fn not_asked() -> CallError {
    CallError::failed("not asked")
}

/// A frame between services. What is read is written as the bytes it was read from.
pub fn frame(data: &[u8]) {
    if let Ok(frame) = Frame::decode(Bytes::copy_from_slice(data)) {
        let written = frame.encode();
        assert_eq!(Frame::decode(written.clone()), Ok(frame.clone()));
        // A role that this build does not know is read as nobody, so a greeting may be written otherwise.
        if !matches!(frame, Frame::Hello { .. }) {
            assert_eq!(written, data);
        }
    }
}

/// A request to a service; the first byte says to which.
pub fn rpc_request(data: &[u8]) {
    let Some((service, request)) = data.split_first() else { return };
    match service % 4 {
        0 => request_of::<BrokerService>(request),
        1 => request_of::<LedgerService>(request),
        2 => request_of::<AuthorityService>(request),
        _ => request_of::<AuditService>(request),
    }
}

fn request_of<S: Service>(data: &[u8]) {
    let Ok(request) = postcard::from_bytes::<S::Request>(data) else { return };
    let written = postcard::to_stdvec(&request).expect("a request is written");
    let again: S::Request = postcard::from_bytes(&written).expect("what was read once");
    assert_eq!(postcard::to_stdvec(&again).expect("a request is written"), written);
    let may = |role: &&tenantry_system::rights::Role| S::may(**role, &request);
    let may = tenantry_system::rights::Role::ALL.iter().filter(may).count();
    // None at all: events under a source that is no role's own, or that it did not refuse itself.
    assert!(may <= 3, "{may} roles may ask this");
}

/// The query of a command's status.
pub fn status_query(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else { return };
    match StatusQuery::parse(&uri) {
        Err(refusal) => bounded(&refusal),
        Ok(query) => {
            assert!(Duration::from_millis(query.wait_ms) <= Duration::from_millis(WAIT_MAX_MS));
            let StatusQuery { tenant_id, wait_ms } = &query;
            let again = format!("/v1/commands/m-1?tenant_id={tenant_id}&wait_ms={wait_ms}");
            assert_eq!(StatusQuery::parse(&again.try_into().expect("a URI")).as_ref(), Ok(&query));
        }
    }
}
